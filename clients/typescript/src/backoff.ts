/** Retry delays that double from 0.1 to 5 seconds, with jitter, until a timeout. */
export class Backoff {
  #failures = 0;
  #unansweredSince: number | undefined;

  /** `retryTimeoutSeconds`: how long to retry without any response; `Infinity`: without end. */
  constructor(
    private readonly retryTimeoutSeconds: number,
    private readonly initialSeconds = 0.1,
    private readonly maxSeconds = 5,
  ) {}

  /** Restart the retry timeout: the server responded, whatever the response is. */
  onResponse(): void {
    this.#unansweredSince = undefined;
  }

  /** Restart the delays at the shortest one: the server sent data. */
  onProgress(): void {
    this.#failures = 0;
  }

  /** Return the seconds to wait before the next attempt; undefined: the retry timeout is over. */
  nextDelay(minSeconds = 0): number | undefined {
    const now = performance.now() / 1000;
    this.#unansweredSince ??= now;
    const longest = Math.min(this.maxSeconds, this.initialSeconds * 2 ** Math.min(this.#failures, 30));
    this.#failures += 1;
    const delay = Math.max(minSeconds, longest * (0.5 + Math.random() / 2));
    return delay < this.#unansweredSince + this.retryTimeoutSeconds - now ? delay : undefined;
  }
}

/** Convert to milliseconds, bounded: timers beyond 2^31 fire at once. */
export function milliseconds(seconds: number): number {
  return Math.min(seconds * 1000, 2 ** 31 - 1);
}

/** Wait. Throws the signal's reason when it is aborted. */
export function sleep(seconds: number, signal?: AbortSignal): Promise<void> {
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
