import { apiPath } from "./http.js";
export class Fleet {
    http;
    constructor(http) {
        this.http = http;
    }
    get(options = {}) {
        return this.http.request("GET", "/fleet", options);
    }
    history(options = {}) {
        return this.http.request("GET", "/fleet/history", options);
    }
    async chats({ status, ownerId, limit = 50 } = {}, options = {}) {
        const query = {
            limit,
            ...(status === undefined ? {} : { status }),
            ...(ownerId === undefined ? {} : { owner_id: ownerId }),
        };
        const page = await this.http.request("GET", "/fleet/chats", { ...options, query });
        return page.items;
    }
    interrupt(chatId, options = {}) {
        return this.http.request("POST", apiPath("fleet", "chats", chatId, "interrupt"), options);
    }
    retry(chatId, options = {}) {
        return this.http.request("POST", apiPath("fleet", "chats", chatId, "retry"), options);
    }
    archive(chatId, options = {}) {
        return this.http.request("POST", apiPath("fleet", "chats", chatId, "archive"), options);
    }
    drain(workerId, options = {}) {
        return this.http.request("PUT", apiPath("fleet", "workers", workerId, "drain"), options);
    }
    resume(workerId, options = {}) {
        return this.http.request("DELETE", apiPath("fleet", "workers", workerId, "drain"), options);
    }
}
