/**
 * Streams that go on over cut wires, killed servers and deploys.
 *
 * A stream is a row of connections. Each begins where the one before ended, at the id of the last
 * whole event; the server tells the rest and nothing else, so what is handed out is told exactly once.
 */

import { Backoff, sleep } from "./backoff.js";
import { ClientError, Unreachable } from "./errors.js";
import type { Http } from "./http.js";
import type { ChatEvent, ListEvent } from "./shapes.js";
import { Parser, type ServerSentEvent } from "./sse.js";

export interface FollowOptions {
  /** The id of the last event you have; without it, a `snapshot` comes first. */
  after?: string;
  /** Hangs up; the iteration then throws the signal's reason. */
  signal?: AbortSignal;
  /** How long to go on without an answer; by default for ever. */
  patienceSeconds?: number;
  /** Told of each break: why (undefined: the server ended the stream in order), and the wait. */
  onGap?: (why: ClientError | undefined, waitSeconds: number) => void;
}

/** Ids of the latest events, to know one that something on the way tells twice. */
const REMEMBERED = 256;

/** The events of a stream: iterate over it once. `cursor` is where to go on another time. */
export class Following<E extends ChatEvent | ListEvent> implements AsyncIterable<E> {
  cursor: string | undefined;
  #told = new Set<string>();
  #over = false;

  constructor(
    private readonly http: Http,
    private readonly path: string,
    private readonly options: FollowOptions,
    private readonly isNews: (event: E) => boolean = () => true,
    private readonly isLast: (event: E) => boolean = () => false,
  ) {
    this.cursor = options.after;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<E, void, undefined> {
    const backoff = new Backoff(this.options.patienceSeconds ?? Infinity);
    while (!this.#over) {
      let heard = false;
      let why: ClientError | undefined;
      try {
        for await (const event of this.#connection(() => backoff.answered())) {
          heard = true;
          yield event;
        }
      } catch (error) {
        if (!(error instanceof ClientError) || !error.passing) throw error;
        why = error;
      }
      if (heard) backoff.progressed();
      if (!this.#over) await this.#pause(backoff, why, heard);
    }
  }

  async *#connection(onOpen: () => void): AsyncGenerator<E, void, undefined> {
    const parser = new Parser();
    for await (const chunk of this.http.stream(this.path, this.cursor, this.options.signal, onOpen)) {
      for (const told of parser.feed(chunk)) {
        if (told.event === "draining" || (told.id !== undefined && this.#told.has(told.id))) continue;
        this.#advance(told);
        const event = { ...told, data: JSON.parse(told.data) } as E;
        this.#over = this.isLast(event);
        if (this.isNews(event)) yield event;
        if (this.#over) return;
      }
    }
  }

  #advance({ event, id }: ServerSentEvent): void {
    if (event === "reset" || event === "snapshot") {
      this.#told.clear(); // a new beginning, whose ids may be old ones
      this.cursor = undefined;
    }
    if (id === undefined) return;
    this.cursor = id;
    this.#told.add(id);
    if (this.#told.size > REMEMBERED) {
      const [oldest] = this.#told;
      this.#told.delete(oldest as string);
    }
  }

  /** Until the next try: at once when the server asked to come again, unless it only said so. */
  async #pause(backoff: Backoff, why: ClientError | undefined, heard: boolean): Promise<void> {
    const wait = backoff.waitSeconds(why?.retryAfter);
    if (wait === undefined) {
      throw why ?? new Unreachable(this.path, "the stream ends before it says anything");
    }
    const pause = heard && why === undefined ? 0 : wait;
    this.options.onGap?.(why, pause);
    await sleep(pause, this.options.signal);
  }
}

/** Of each chat, only what is newer than what was told before. */
export function newer(): (event: ListEvent) => boolean {
  let versions = new Map<string, number>();
  return (event) => {
    switch (event.event) {
      case "snapshot":
        versions = new Map(event.data.items.map((chat) => [chat.id, chat.version]));
        return true;
      case "chat": {
        const { id, version } = event.data;
        if (version <= (versions.get(id) ?? -1)) return false;
        versions.set(id, version);
        return true;
      }
      case "deleted":
        versions.delete(event.data.id);
        return true;
      default:
        return true;
    }
  };
}
