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

/** What a kind of stream knows of its events. */
export interface Rules<E> {
  /** Whether something on the way tells this again. */
  isRepeated(told: ServerSentEvent): boolean;
  /** Whether it says anything that was not known. */
  isNews(event: E): boolean;
  /** Whether nothing comes after it. */
  isLast(event: E): boolean;
}

/** The events of a stream: iterate over it once. `cursor` is where to go on another time. */
export class Following<E extends ChatEvent | ListEvent> implements AsyncIterable<E> {
  cursor: string | undefined;
  #over = false;

  constructor(
    private readonly http: Http,
    private readonly path: string,
    private readonly options: FollowOptions,
    private readonly rules: Rules<E>,
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
        if (told.event === "draining" || this.rules.isRepeated(told)) continue;
        if (isBeginning(told)) this.cursor = undefined;
        if (told.id !== undefined) this.cursor = told.id;
        const event = { ...told, data: JSON.parse(told.data) } as E;
        this.#over = this.rules.isLast(event);
        if (this.rules.isNews(event)) yield event;
        if (this.#over) return;
      }
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

function isBeginning({ event }: ServerSentEvent): boolean {
  return event === "reset" || event === "snapshot";
}

/** Each event of a chat has an id of its own; only a new beginning may use old ones again. */
export function ofOneChat(): Rules<ChatEvent> {
  const ids = new Set<string>();
  return {
    isRepeated(told) {
      if (isBeginning(told)) ids.clear();
      if (told.id === undefined) return false;
      if (ids.has(told.id)) return true;
      ids.add(told.id);
      if (ids.size > REMEMBERED) {
        const [oldest] = ids;
        ids.delete(oldest as string);
      }
      return false;
    },
    isNews: () => true,
    isLast: (event) => event.event === "deleted",
  };
}

/** A list is told as states: of each chat, only what is newer than what was told before is news. */
export function ofAllChats(): Rules<ListEvent> {
  let versions = new Map<string, number>();
  const isNewer = (id: string, version: number): boolean => {
    if (version <= (versions.get(id) ?? -1)) return false;
    versions.set(id, version);
    return true;
  };
  return {
    isRepeated: () => false, // ids mark how far the list was read, and several events may share one
    isNews(event) {
      switch (event.event) {
        case "snapshot":
          versions = new Map(event.data.items.map((chat) => [chat.id, chat.version]));
          return true;
        case "chat":
          return isNewer(event.data.id, event.data.version);
        case "deleted":
          return isNewer(event.data.id, Infinity);
        default:
          return true;
      }
    },
    isLast: () => false,
  };
}
