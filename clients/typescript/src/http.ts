/** Requests that may be repeated: what was lost on the way is asked again, and done once. */

import { Backoff, sleep } from "./backoff.js";
import { ChatdHTTPError, ClientError, NotChatd, Unreachable } from "./errors.js";
import { Watch } from "./watch.js";

export interface ClientOptions {
  /** A token, or what gives one whenever a request is made. */
  token?: string | (() => string | Promise<string>);
  /** Whom to act for; for admins. */
  owner?: string;
  /** What one answer may take. */
  timeoutSeconds?: number;
  /** How long a request is repeated while no answer can be had; `Infinity`: for ever. */
  patienceSeconds?: number;
  /**
   * How long a stream may say nothing before its wire is taken for dead: more than the server's
   * `http.sse_keepalive_seconds`.
   */
  silenceSeconds?: number;
  fetch?: typeof fetch;
}

export interface RequestOptions {
  signal?: AbortSignal;
  /** A name of your own for this request; without it, it gets one. */
  idempotencyKey?: string;
}

export type Query = Record<string, string | number | boolean | readonly string[] | undefined>;

interface Asked extends RequestOptions {
  body?: unknown;
  query?: Query;
}

const KEYED = new Set(["POST", "PATCH"]);

export class Http {
  readonly #url: string;
  readonly #fetch: typeof fetch;

  constructor(
    baseUrl: string,
    private readonly options: ClientOptions,
  ) {
    this.#url = `${baseUrl.replace(/\/+$/, "")}/api/v1`;
    this.#fetch = options.fetch ?? globalThis.fetch.bind(globalThis);
  }

  /**
   * The JSON of the answer; undefined when it has no body.
   *
   * Repeated while the connection breaks or the server says "later". A POST or PATCH carries the
   * same key each time, so it is done once however often it arrives.
   */
  async ask<T>(method: string, path: string, asked: Asked = {}): Promise<T> {
    const backoff = new Backoff(this.options.patienceSeconds ?? 30);
    const headers: Record<string, string> = { accept: "application/json" };
    if (KEYED.has(method)) headers["idempotency-key"] = asked.idempotencyKey ?? newKey();
    if (asked.body !== undefined) headers["content-type"] = "application/json";
    for (let repeated = false; ; repeated = true) {
      try {
        return await this.#once<T>(method, path, headers, asked);
      } catch (error) {
        if (repeated && method === "DELETE" && isNotFound(error)) return undefined as T; // done before
        const wait = isPassing(error) ? backoff.waitSeconds(error.retryAfter) : undefined;
        if (wait === undefined) throw error;
        await sleep(wait, asked.signal);
      }
    }
  }

  /** An open stream of events, cut when nothing comes for too long. */
  async *stream(path: string, after: string | undefined, signal?: AbortSignal, onOpen?: () => void) {
    const silence = this.options.silenceSeconds ?? 45;
    const watch = new Watch(silence, signal);
    const headers: Record<string, string> = { accept: "text/event-stream" };
    if (after !== undefined) headers["last-event-id"] = after;
    try {
      const answer = await this.#send("GET", path, headers, {}, watch);
      if (!answer.headers.get("content-type")?.startsWith("text/event-stream") || !answer.body) {
        throw new NotChatd(this.#url);
      }
      onOpen?.();
      const reader = answer.body.getReader();
      while (true) {
        watch.rewind();
        const { done, value } = await this.#translated(watch, () => reader.read());
        if (done) return;
        yield value;
      }
    } finally {
      watch.stop();
    }
  }

  async #once<T>(method: string, path: string, headers: Record<string, string>, asked: Asked) {
    const watch = new Watch(this.options.timeoutSeconds ?? 30, asked.signal);
    try {
      const answer = await this.#send(method, path, headers, asked, watch);
      const text = await this.#translated(watch, () => answer.text());
      return (text === "" ? undefined : this.#read(text)) as T;
    } finally {
      watch.stop();
    }
  }

  async #send(
    method: string,
    path: string,
    headers: Record<string, string>,
    { body, query }: Asked,
    watch: Watch,
  ): Promise<Response> {
    const request: RequestInit = {
      method,
      headers: { ...headers, ...(await this.#identity()) },
      signal: watch.signal,
      cache: "no-store",
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    };
    const answer = await this.#translated(watch, () =>
      this.#fetch(`${this.#url}${path}${written(query)}`, request),
    );
    if (answer.ok) return answer;
    const problem = await this.#translated(watch, () => answer.text());
    throw new ChatdHTTPError(answer.status, parsed(problem), retryAfter(answer));
  }

  async #identity(): Promise<Record<string, string>> {
    const { token, owner } = this.options;
    const given = typeof token === "function" ? await token() : token;
    return {
      ...(given === undefined ? {} : { authorization: `Bearer ${given}` }),
      ...(owner === undefined ? {} : { "x-chatd-owner": inUtf8(owner) }),
    };
  }

  async #translated<T>(watch: Watch, act: () => Promise<T>): Promise<T> {
    try {
      return await act();
    } catch (error) {
      watch.outer?.throwIfAborted();
      throw new Unreachable(this.#url, watch.ranOut ? "it says nothing" : String(error), {
        cause: error,
      });
    }
  }

  #read(text: string): unknown {
    const value = parsed(text);
    if (value === undefined) throw new NotChatd(this.#url);
    return value;
  }
}

/** The text of a header, one character for each byte: `fetch` takes no others. */
function inUtf8(text: string): string {
  return String.fromCharCode(...new TextEncoder().encode(text));
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function written(query: Query = {}): string {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value === undefined) continue;
    for (const one of Array.isArray(value) ? value : [value]) params.append(name, String(one));
  }
  const text = params.toString();
  return text === "" ? "" : `?${text}`;
}

/** `Retry-After`: seconds, or a date. */
function retryAfter(answer: Response): number | undefined {
  const text = answer.headers.get("retry-after");
  if (text === null) return undefined;
  if (/^\d+$/.test(text)) return Number(text);
  const moment = Date.parse(text);
  return Number.isNaN(moment) ? undefined : Math.max(0, (moment - Date.now()) / 1000);
}

function isPassing(error: unknown): error is ClientError {
  return error instanceof ClientError && error.passing;
}

function isNotFound(error: unknown): boolean {
  return error instanceof ChatdHTTPError && error.status === 404;
}

/** Unique enough also where `crypto` is missing: Node 18, and pages that came over plain HTTP. */
function newKey(): string {
  const uuid = globalThis.crypto?.randomUUID?.();
  return uuid ?? `${Date.now().toString(36)}-${Array.from({ length: 4 }, random).join("")}`;
}

function random(): string {
  return Math.random().toString(36).slice(2, 10);
}
