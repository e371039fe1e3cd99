import { Backoff, sleep } from "./backoff.js";
import { ChatdHTTPError, ClientError, ConnectFailed, UnexpectedResponse } from "./errors.js";
import { Timeout } from "./timeout.js";
export function apiPath(...segments) {
    return segments
        .map((segment) => {
        const text = String(segment);
        if (text === "" || text === "." || text === "..")
            throw new TypeError(`not an id: "${text}"`);
        return `/${encodeURIComponent(text)}`;
    })
        .join("");
}
const METHODS_WITH_IDEMPOTENCY_KEY = new Set(["POST", "PATCH"]);
export class Http {
    options;
    #baseUrl;
    #fetch;
    constructor(baseUrl, options) {
        this.options = options;
        this.#baseUrl = `${baseUrl.replace(/\/+$/, "")}/api/v1`;
        this.#fetch = options.fetch ?? globalThis.fetch.bind(globalThis);
    }
    request(method, path, data = {}) {
        return this.#repeat(method, path, data, async (response) => {
            const text = await response.text();
            return (text === "" ? undefined : this.#parse(text));
        });
    }
    download(path, data = {}) {
        return this.#repeat("GET", path, data, (response) => response.blob());
    }
    async #repeat(method, path, data, read) {
        const backoff = new Backoff(this.options.retryTimeoutSeconds ?? 30);
        const headers = { accept: "application/json" };
        if (METHODS_WITH_IDEMPOTENCY_KEY.has(method)) {
            headers["idempotency-key"] = data.idempotencyKey ?? newIdempotencyKey();
        }
        if (data.body !== undefined)
            headers["content-type"] = "application/json";
        for (let repeated = false;; repeated = true) {
            try {
                return await this.#sendOnce(method, path, headers, data, read);
            }
            catch (error) {
                if (repeated && isNotFound(error) && error.code === data.doneCode)
                    return undefined;
                const delay = isRetryable(error) ? backoff.nextDelay(error.retryAfter) : undefined;
                if (delay === undefined)
                    throw error;
                await sleep(delay, data.signal);
            }
        }
    }
    async *stream(path, after, signal, onOpen) {
        const readTimeout = this.options.readTimeoutSeconds ?? 45;
        const timeout = new Timeout(readTimeout, signal);
        const headers = { accept: "text/event-stream" };
        if (after !== undefined)
            headers["last-event-id"] = after;
        try {
            const response = await this.#send("GET", path, headers, {}, timeout);
            if (!response.headers.get("content-type")?.startsWith("text/event-stream") || !response.body) {
                throw new UnexpectedResponse(this.#baseUrl);
            }
            onOpen?.();
            const reader = response.body.getReader();
            while (true) {
                timeout.restart();
                const { done, value } = await this.#translateErrors(timeout, () => reader.read());
                if (done)
                    return;
                yield value;
            }
        }
        finally {
            timeout.stop();
        }
    }
    async #sendOnce(method, path, headers, data, read) {
        const timeout = new Timeout(this.options.timeoutSeconds ?? 30, data.signal);
        try {
            const response = await this.#send(method, path, headers, data, timeout);
            return await this.#translateErrors(timeout, () => read(response));
        }
        finally {
            timeout.stop();
        }
    }
    async #send(method, path, headers, { body, query }, timeout) {
        const init = {
            method,
            headers: { ...headers, ...(await this.#authHeaders()) },
            signal: timeout.signal,
            cache: "no-store",
            ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        };
        const response = await this.#translateErrors(timeout, () => this.#fetch(`${this.#baseUrl}${path}${queryString(query)}`, init));
        if (response.ok)
            return response;
        const problem = await this.#translateErrors(timeout, () => response.text());
        throw new ChatdHTTPError(response.status, parseJson(problem), retryAfter(response));
    }
    async #authHeaders() {
        const { token, owner } = this.options;
        const bearer = typeof token === "function" ? await token() : token;
        return {
            ...(bearer === undefined ? {} : { authorization: `Bearer ${bearer}` }),
            ...(owner === undefined ? {} : { "x-chatd-owner": headerBytes(owner) }),
        };
    }
    async #translateErrors(timeout, act) {
        try {
            return await act();
        }
        catch (error) {
            if (error instanceof ClientError)
                throw error;
            timeout.outer?.throwIfAborted();
            throw new ConnectFailed(this.#baseUrl, timeout.expired ? "it sends nothing" : String(error), {
                cause: error,
            });
        }
    }
    #parse(text) {
        const value = parseJson(text);
        if (value === undefined)
            throw new UnexpectedResponse(this.#baseUrl);
        return value;
    }
}
function headerBytes(text) {
    return String.fromCharCode(...new TextEncoder().encode(text));
}
function parseJson(text) {
    try {
        return JSON.parse(text);
    }
    catch {
        return undefined;
    }
}
function queryString(query = {}) {
    const params = new URLSearchParams();
    for (const [name, value] of Object.entries(query)) {
        if (value === undefined)
            continue;
        for (const item of Array.isArray(value) ? value : [value])
            params.append(name, String(item));
    }
    const text = params.toString();
    return text === "" ? "" : `?${text}`;
}
function retryAfter(response) {
    const text = response.headers.get("retry-after");
    if (text === null)
        return undefined;
    if (/^\d+$/.test(text))
        return Number(text);
    const date = Date.parse(text);
    return Number.isNaN(date) ? undefined : Math.max(0, (date - Date.now()) / 1000);
}
function isRetryable(error) {
    return error instanceof ClientError && error.retryable;
}
function isNotFound(error) {
    return error instanceof ChatdHTTPError && error.status === 404;
}
function newIdempotencyKey() {
    const uuid = globalThis.crypto?.randomUUID?.();
    return uuid ?? `${Date.now().toString(36)}-${Array.from({ length: 4 }, randomText).join("")}`;
}
function randomText() {
    return Math.random().toString(36).slice(2, 10);
}
