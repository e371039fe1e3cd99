import { milliseconds } from "./backoff.js";

/** An abort signal that follows another one, and fires by itself unless it is restarted in time. */
export class Timeout {
  expired = false;
  readonly #controller = new AbortController();
  readonly #abort = () => this.#controller.abort(this.outer?.reason);
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly seconds: number,
    readonly outer?: AbortSignal,
  ) {
    outer?.throwIfAborted();
    outer?.addEventListener("abort", this.#abort, { once: true });
    this.restart();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Start the time over. */
  restart(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.expired = true;
      this.#controller.abort();
    }, milliseconds(this.seconds));
  }

  /** Stop, and abort the request if it is still open. */
  stop(): void {
    clearTimeout(this.#timer);
    this.outer?.removeEventListener("abort", this.#abort);
    this.#controller.abort();
  }
}
