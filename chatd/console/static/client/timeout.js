import { milliseconds } from "./backoff.js";
export class Timeout {
    seconds;
    outer;
    expired = false;
    #controller = new AbortController();
    #abort = () => this.#controller.abort(this.outer?.reason);
    #timer;
    constructor(seconds, outer) {
        this.seconds = seconds;
        this.outer = outer;
        outer?.throwIfAborted();
        outer?.addEventListener("abort", this.#abort, { once: true });
        this.restart();
    }
    get signal() {
        return this.#controller.signal;
    }
    restart() {
        clearTimeout(this.#timer);
        this.#timer = setTimeout(() => {
            this.expired = true;
            this.#controller.abort();
        }, milliseconds(this.seconds));
    }
    stop() {
        clearTimeout(this.#timer);
        this.outer?.removeEventListener("abort", this.#abort);
        this.#controller.abort();
    }
}
