import { Fleet } from "./fleet.js";
import { EventStream, chatListRules, chatRules } from "./follow.js";
import { apiPath, Http } from "./http.js";
async function* paginate(http, path, query, cursorParam = "cursor", options = {}) {
    for await (const page of pages(http, path, query, cursorParam, options))
        yield* page.items;
}
async function* pages(http, path, query, cursorParam = "cursor", options = {}) {
    let cursor;
    do {
        const pageQuery = cursor === undefined ? query : { ...query, [cursorParam]: cursor };
        const page = await http.request("GET", path, { ...options, query: pageQuery });
        yield page;
        cursor = page.next_cursor ?? undefined;
    } while (cursor !== undefined);
}
export class Client {
    chats;
    messages;
    queue;
    fleet;
    #http;
    constructor(baseUrl, options = {}) {
        this.#http = new Http(baseUrl, options);
        this.chats = new Chats(this.#http);
        this.messages = new Messages(this.#http);
        this.queue = new Queue(this.#http);
        this.fleet = new Fleet(this.#http);
    }
    async models() {
        return (await this.#http.request("GET", "/models")).items;
    }
    submitToolResults(chatId, results, options = {}) {
        return this.#http.request("POST", apiPath("chats", chatId, "tool-results"), { ...options, body: { results } });
    }
    answerActions(chatId, answers, options = {}) {
        return this.#http.request("POST", apiPath("chats", chatId, "actions"), { ...options, body: { answers } });
    }
    approve(chatId, toolCallId, { args, remember, ...options } = {}) {
        const given = { ...(args ? { args } : {}), ...(remember ? { remember } : {}) };
        return this.answerActions(chatId, [{ tool_call_id: toolCallId, decision: "allow", ...given }], options);
    }
    deny(chatId, toolCallId, { reason, remember, ...options } = {}) {
        const given = { ...(reason ? { reason } : {}), ...(remember ? { remember } : {}) };
        return this.answerActions(chatId, [{ tool_call_id: toolCallId, decision: "deny", ...given }], options);
    }
    follow(chatId, options = {}) {
        return new EventStream(this.#http, apiPath("chats", chatId, "stream"), options, chatRules());
    }
    followAll(options = {}) {
        const path = `/chats/stream?archived=${options.archived ?? false}`;
        return new EventStream(this.#http, path, options, chatListRules());
    }
}
export class Chats {
    http;
    constructor(http) {
        this.http = http;
    }
    create(content, more = {}) {
        const { signal, idempotencyKey, ...fields } = more;
        const body = content === undefined ? fields : { content, ...fields };
        return this.http.request("POST", "/chats", { ...dropUndefined({ signal, idempotencyKey }), body });
    }
    fork(chatId, more = {}) {
        const { signal, idempotencyKey, ...body } = more;
        const options = dropUndefined({ signal, idempotencyKey });
        return this.http.request("POST", apiPath("chats", chatId, "fork"), { ...options, body });
    }
    get(chatId, options = {}) {
        return this.http.request("GET", apiPath("chats", chatId), options);
    }
    list({ labels, pageSize = 50, ...more } = {}) {
        return paginate(this.http, "/chats", { ...more, label: labels, limit: pageSize });
    }
    children(chatId, { pageSize } = {}) {
        return this.list({ parent: chatId, archived: "any", ...(pageSize ? { pageSize } : {}) });
    }
    async *search(words, { labels, pageSize = 50, ...more } = {}) {
        const query = { ...more, q: words, in: "messages", label: labels, limit: pageSize };
        for await (const page of pages(this.http, "/chats", query)) {
            for (const chat of page.items) {
                const match = page.matches?.[chat.id];
                if (match !== undefined)
                    yield { chat, match };
            }
        }
    }
    update(chatId, fields, options = {}) {
        return this.http.request("PATCH", apiPath("chats", chatId), { ...options, body: fields });
    }
    delete(chatId, options = {}) {
        return this.http.request("DELETE", apiPath("chats", chatId), { ...options, doneCode: "chat_not_found" });
    }
    interrupt(chatId, options = {}) {
        return this.http.request("POST", apiPath("chats", chatId, "interrupt"), options);
    }
    retry(chatId, options = {}) {
        return this.http.request("POST", apiPath("chats", chatId, "retry"), options);
    }
    clear(chatId, options = {}) {
        return this.http.request("POST", apiPath("chats", chatId, "clear"), options);
    }
    compact(chatId, more = {}) {
        const { signal, idempotencyKey, ...body } = more;
        const options = dropUndefined({ signal, idempotencyKey });
        return this.http.request("POST", apiPath("chats", chatId, "compact"), { ...options, body });
    }
    explain(chatId, options = {}) {
        return this.http.request("GET", apiPath("chats", chatId, "explain"), options);
    }
    toolCalls(chatId, { afterId = 0, pageSize = 100 } = {}) {
        const query = { after_id: afterId, limit: pageSize };
        return paginate(this.http, apiPath("chats", chatId, "tool-calls"), query, "after_id");
    }
    events(chatId, { after = 0, pageSize = 100 } = {}) {
        return paginate(this.http, apiPath("chats", chatId, "events"), { after, limit: pageSize }, "after");
    }
}
export class Messages {
    http;
    constructor(http) {
        this.http = http;
    }
    list(chatId, { afterId = 0, pageSize = 100 } = {}) {
        const query = { after_id: afterId, limit: pageSize };
        return paginate(this.http, apiPath("chats", chatId, "messages"), query, "after_id");
    }
    async *listOlder(chatId, beforeId, { pageSize = 100 } = {}) {
        const path = apiPath("chats", chatId, "messages");
        let cursor = beforeId;
        while (cursor !== undefined) {
            const query = { before_id: cursor, limit: pageSize };
            const page = await this.http.request("GET", path, { query });
            yield* page.items.reverse();
            cursor = page.next_cursor ?? undefined;
        }
    }
    send(chatId, content, more = {}) {
        const { signal, idempotencyKey, ...fields } = more;
        const body = { content, ...fields };
        const options = dropUndefined({ signal, idempotencyKey });
        return this.http.request("POST", apiPath("chats", chatId, "messages"), { ...options, body });
    }
    append(chatId, messages, options = {}) {
        return this.http.request("POST", apiPath("chats", chatId, "append"), { ...options, body: { messages } });
    }
    edit(chatId, messageId, content, options = {}) {
        const path = apiPath("chats", chatId, "messages", messageId);
        return this.http.request("PATCH", path, { ...options, body: { content } });
    }
    regenerate(chatId, messageId, options = {}) {
        const path = apiPath("chats", chatId, "messages", messageId, "regenerate");
        return this.http.request("POST", path, options);
    }
    file(chatId, fileId, options = {}) {
        return this.http.download(apiPath("chats", chatId, "files", fileId), options);
    }
}
export class Queue {
    http;
    constructor(http) {
        this.http = http;
    }
    async list(chatId, options = {}) {
        const path = apiPath("chats", chatId, "queue");
        const items = [];
        for await (const item of paginate(this.http, path, {}, "after_id", options)) {
            items.push(item);
        }
        return items;
    }
    remove(chatId, queuedId, options = {}) {
        const path = apiPath("chats", chatId, "queue", queuedId);
        return this.http.request("DELETE", path, { ...options, doneCode: "queued_message_not_found" });
    }
    promote(chatId, queuedId, options = {}) {
        return this.http.request("POST", apiPath("chats", chatId, "queue", queuedId, "promote"), options);
    }
}
function dropUndefined({ signal, idempotencyKey }) {
    return {
        ...(signal === undefined ? {} : { signal }),
        ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
    };
}
