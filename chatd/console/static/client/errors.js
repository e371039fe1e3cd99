export class ClientError extends Error {
    retryable = false;
    retryAfter;
}
export class ConnectFailed extends ClientError {
    url;
    name = "ConnectFailed";
    retryable = true;
    constructor(url, reason, options) {
        super(`No answer from ${url}: ${reason}`, options);
        this.url = url;
    }
}
export class UnexpectedResponse extends ClientError {
    url;
    name = "UnexpectedResponse";
    constructor(url) {
        super(`What answers at ${url} is not a chatd.`);
        this.url = url;
    }
}
const RETRYABLE_STATUSES = new Set([502, 503, 504]);
export class ChatdHTTPError extends ClientError {
    status;
    name = "ChatdHTTPError";
    code;
    detail;
    errors;
    decisions;
    constructor(status, problem, retryAfter) {
        const body = (problem ?? {});
        const code = body.code ?? "unknown";
        super(`${body.detail || "The server gave no reason."} (${status} ${code})`);
        this.status = status;
        this.code = code;
        this.detail = body.detail ?? "";
        this.errors = body.errors ?? [];
        this.decisions = body.decisions ?? [];
        this.retryAfter = retryAfter;
        this.retryable = RETRYABLE_STATUSES.has(status) || (status === 429 && retryAfter !== undefined);
    }
}
