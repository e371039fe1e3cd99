export class Backoff {
    retryTimeoutSeconds;
    initialSeconds;
    maxSeconds;
    #failures = 0;
    #unansweredSince;
    constructor(retryTimeoutSeconds, initialSeconds = 0.1, maxSeconds = 5) {
        this.retryTimeoutSeconds = retryTimeoutSeconds;
        this.initialSeconds = initialSeconds;
        this.maxSeconds = maxSeconds;
    }
    onResponse() {
        this.#unansweredSince = undefined;
    }
    onProgress() {
        this.#failures = 0;
    }
    nextDelay(minSeconds = 0) {
        const now = performance.now() / 1000;
        this.#unansweredSince ??= now;
        const longest = Math.min(this.maxSeconds, this.initialSeconds * 2 ** Math.min(this.#failures, 30));
        this.#failures += 1;
        const delay = Math.max(minSeconds, longest * (0.5 + Math.random() / 2));
        return delay < this.#unansweredSince + this.retryTimeoutSeconds - now ? delay : undefined;
    }
}
export function milliseconds(seconds) {
    return Math.min(seconds * 1000, 2 ** 31 - 1);
}
export function sleep(seconds, signal) {
    return new Promise((resolve, reject) => {
        signal?.throwIfAborted();
        const stop = () => {
            clearTimeout(timer);
            reject(signal?.reason);
        };
        const timer = setTimeout(() => {
            signal?.removeEventListener("abort", stop);
            resolve();
        }, milliseconds(seconds));
        signal?.addEventListener("abort", stop, { once: true });
    });
}
