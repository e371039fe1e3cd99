import { milliseconds } from "./backoff.js";

/** An abort signal that follows another, and fires by itself when nothing rewinds it in time. */
export class Watch {
  ranOut = false;
  readonly #controller = new AbortController();
  readonly #abort = () => this.#controller.abort(this.outer?.reason);
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly seconds: number,
    readonly outer?: AbortSignal,
  ) {
    outer?.throwIfAborted();
    outer?.addEventListener("abort", this.#abort, { once: true });
    this.rewind();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Start the time anew. */
  rewind(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.ranOut = true;
      this.#controller.abort();
    }, milliseconds(this.seconds));
  }

  /** It is over: let go of the connection, if it is still held. */
  stop(): void {
    clearTimeout(this.#timer);
    this.outer?.removeEventListener("abort", this.#abort);
    this.#controller.abort();
  }
}
