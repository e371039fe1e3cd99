/**
 * Streams that reconnect after cut connections, killed servers and deployments.
 *
 * A stream is a sequence of connections. Each resumes at the id of the last complete event of the one before,
 * and the server sends exactly the rest, so each event is yielded once.
 */

import { Backoff, sleep } from "./backoff.js";
import { ChatdHTTPError, ClientError, ConnectFailed } from "./errors.js";
import type { Http } from "./http.js";
import type { ChatEvent, ChatListEvent } from "./types.js";
import { Parser, type ServerSentEvent } from "./sse.js";

export interface FollowOptions {
  /** The id of the last event you have. Without it, the stream begins with a `snapshot`. */
  after?: string;
  /** Ends the stream; the iteration then throws the signal's reason. */
  signal?: AbortSignal;
  /** Limit of reconnecting without any response; by default there is none. */
  retryTimeoutSeconds?: number;
  /** Called before each reconnect with the error, if the server did not end the stream in order, and the delay. */
  onReconnect?: (reason: ClientError | undefined, delaySeconds: number) => void;
}

/** Number of recent ids that are remembered, to recognise an event that a proxy delivers twice. */
const MAX_SEEN_IDS = 256;

/** Rules of one kind of stream for its events. */
export interface EventRules<E> {
  /** Return whether this event was delivered before. */
  isDuplicate(raw: ServerSentEvent): boolean;
  /** Return whether the event holds anything new. */
  isNew(event: E): boolean;
  /** Return whether the stream ends with this event. */
  isLast(event: E): boolean;
}

/** The events of a stream: iterate over it once. `cursor` resumes it another time. */
export class EventStream<E extends ChatEvent | ChatListEvent> implements AsyncIterable<E> {
  cursor: string | undefined;
  #finished = false;

  constructor(
    private readonly http: Http,
    private readonly path: string,
    private readonly options: FollowOptions,
    private readonly rules: EventRules<E>,
  ) {
    this.cursor = options.after;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<E, void, undefined> {
    const backoff = new Backoff(this.options.retryTimeoutSeconds ?? Infinity);
    while (!this.#finished) {
      let received = false;
      let reason: ClientError | undefined;
      try {
        for await (const event of this.#connection(() => backoff.onResponse())) {
          received = true;
          yield event;
        }
      } catch (error) {
        if (!(error instanceof ClientError) || !(error.retryable || isLimit(error))) throw error;
        reason = error;
      }
      if (received) backoff.onProgress();
      if (!this.#finished) await this.#pause(backoff, reason, received);
    }
  }

  async *#connection(onOpen: () => void): AsyncGenerator<E, void, undefined> {
    const parser = new Parser();
    for await (const chunk of this.http.stream(this.path, this.cursor, this.options.signal, onOpen)) {
      for (const raw of parser.feed(chunk)) {
        if (raw.event === "draining" || this.rules.isDuplicate(raw)) continue;
        if (restartsStream(raw)) this.cursor = undefined;
        if (raw.id !== undefined) this.cursor = raw.id;
        const event = { ...raw, data: JSON.parse(raw.data) } as E;
        this.#finished = this.rules.isLast(event);
        if (this.rules.isNew(event)) yield event;
        if (this.#finished) return;
      }
    }
  }

  /** Wait for the next attempt: no time if the server ended a stream that had sent something. */
  async #pause(backoff: Backoff, reason: ClientError | undefined, received: boolean): Promise<void> {
    const delay = backoff.nextDelay(reason?.retryAfter);
    if (delay === undefined) {
      throw reason ?? new ConnectFailed(this.path, "the stream ended before it sent anything");
    }
    const pause = received && reason === undefined ? 0 : delay;
    this.options.onReconnect?.(reason, pause);
    await sleep(pause, this.options.signal);
  }
}

/** Whether a limit refused the stream: it passes, so it is waited out. */
function isLimit(error: ClientError): boolean {
  return error instanceof ChatdHTTPError && error.status === 429;
}

function restartsStream({ event }: ServerSentEvent): boolean {
  return event === "reset" || event === "snapshot";
}

/** The rules of one chat's stream. Each event has an id of its own; only a restart may repeat old ones. */
export function chatRules(): EventRules<ChatEvent> {
  const ids = new Set<string>();
  return {
    isDuplicate(raw) {
      if (restartsStream(raw)) ids.clear();
      if (raw.id === undefined) return false;
      if (ids.has(raw.id)) return true;
      ids.add(raw.id);
      if (ids.size > MAX_SEEN_IDS) {
        const [oldest] = ids;
        ids.delete(oldest as string);
      }
      return false;
    },
    isNew: () => true,
    isLast: (event) => event.event === "deleted",
  };
}

/** The rules of the list's stream. It sends states: of each chat, only newer versions are new. */
export function chatListRules(): EventRules<ChatListEvent> {
  let versions = new Map<string, number>();
  const isNewer = (id: string, version: number): boolean => {
    if (version <= (versions.get(id) ?? -1)) return false;
    versions.set(id, version);
    return true;
  };
  return {
    isDuplicate: () => false, // an id marks how far the list was read, so several events may share one
    isNew(event) {
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
