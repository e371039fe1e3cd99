import { Backoff, sleep } from "./backoff.js";
import { ChatdHTTPError, ClientError, ConnectFailed } from "./errors.js";
import { Parser } from "./sse.js";
const MAX_SEEN_IDS = 256;
export class EventStream {
    http;
    path;
    options;
    rules;
    cursor;
    #finished = false;
    constructor(http, path, options, rules) {
        this.http = http;
        this.path = path;
        this.options = options;
        this.rules = rules;
        this.cursor = options.after;
    }
    async *[Symbol.asyncIterator]() {
        const backoff = new Backoff(this.options.retryTimeoutSeconds ?? Infinity);
        while (!this.#finished) {
            let received = false;
            let reason;
            try {
                for await (const event of this.#connection(() => backoff.onResponse())) {
                    received = true;
                    yield event;
                }
            }
            catch (error) {
                if (!(error instanceof ClientError) || !(error.retryable || isLimit(error)))
                    throw error;
                reason = error;
            }
            if (received)
                backoff.onProgress();
            if (!this.#finished)
                await this.#pause(backoff, reason, received);
        }
    }
    async *#connection(onOpen) {
        const parser = new Parser();
        for await (const chunk of this.http.stream(this.path, this.cursor, this.options.signal, onOpen)) {
            for (const raw of parser.feed(chunk)) {
                if (raw.event === "draining" || this.rules.isDuplicate(raw))
                    continue;
                if (restartsStream(raw))
                    this.cursor = undefined;
                if (raw.id !== undefined)
                    this.cursor = raw.id;
                const event = { ...raw, data: JSON.parse(raw.data) };
                this.#finished = this.rules.isLast(event);
                if (this.rules.isNew(event))
                    yield event;
                if (this.#finished)
                    return;
            }
        }
    }
    async #pause(backoff, reason, received) {
        const delay = backoff.nextDelay(reason?.retryAfter);
        if (delay === undefined) {
            throw reason ?? new ConnectFailed(this.path, "the stream ended before it sent anything");
        }
        const pause = received && reason === undefined ? 0 : delay;
        this.options.onReconnect?.(reason, pause);
        await sleep(pause, this.options.signal);
    }
}
function isLimit(error) {
    return error instanceof ChatdHTTPError && error.status === 429;
}
function restartsStream({ event }) {
    return event === "reset" || event === "snapshot";
}
export function chatRules() {
    const ids = new Set();
    return {
        isDuplicate(raw) {
            if (restartsStream(raw))
                ids.clear();
            if (raw.id === undefined)
                return false;
            if (ids.has(raw.id))
                return true;
            ids.add(raw.id);
            if (ids.size > MAX_SEEN_IDS) {
                const [oldest] = ids;
                ids.delete(oldest);
            }
            return false;
        },
        isNew: () => true,
        isLast: (event) => event.event === "deleted",
    };
}
export function chatListRules() {
    let versions = new Map();
    const isNewer = (id, version) => {
        if (version <= (versions.get(id) ?? -1))
            return false;
        versions.set(id, version);
        return true;
    };
    return {
        isDuplicate: () => false,
        isNew(event) {
            switch (event.event) {
                case "snapshot":
                    versions = new Map(event.data.items.map((chat) => [chat.id, chat.version]));
                    return true;
                case "chat":
                    return isNewer(event.data.id, event.data.version);
                case "deleted":
                    return isNewer(event.data.id, Infinity);
                default:
                    return true;
            }
        },
        isLast: () => false,
    };
}
