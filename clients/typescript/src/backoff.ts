/** When to try again, and when to stop trying. Waits double from 0.1 to 5 seconds, with jitter. */
export class Backoff {
  #failures = 0;
  #silentSince: number | undefined;

  /** `patienceSeconds` is how long a silence of the server is borne; `Infinity`: for ever. */
  constructor(
    private readonly patienceSeconds: number,
    private readonly firstSeconds = 0.1,
    private readonly mostSeconds = 5,
  ) {}

  /** The server is there, whatever it will say: patience is as at the start. */
  answered(): void {
    this.#silentSince = undefined;
  }

  /** It said something of use: the next wait is short again. */
  progressed(): void {
    this.#failures = 0;
  }

  /** How long to wait before the next try; undefined: patience is out. */
  waitSeconds(atLeast = 0): number | undefined {
    const now = performance.now() / 1000;
    this.#silentSince ??= now;
    const longest = Math.min(this.mostSeconds, this.firstSeconds * 2 ** Math.min(this.#failures, 30));
    this.#failures += 1;
    const wait = Math.max(atLeast, longest * (0.5 + Math.random() / 2));
    return wait < this.#silentSince + this.patienceSeconds - now ? wait : undefined;
  }
}

/** Timers fire at once when they are asked for more than they can count to. */
export function milliseconds(seconds: number): number {
  return Math.min(seconds * 1000, 2 ** 31 - 1);
}

/** Wait; throws the signal's reason when it is aborted. */
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
