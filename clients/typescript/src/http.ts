/** Requests that are retried when their response is lost, and executed once. */

import { Backoff, sleep } from "./backoff.js";
import { ChatdHTTPError, ClientError, ConnectFailed, UnexpectedResponse } from "./errors.js";
import { Timeout } from "./timeout.js";

export interface ClientOptions {
  /** A token, or a function that returns one for each request. */
  token?: string | (() => string | Promise<string>);
  /** The owner to act for. To name another than the token's takes the scope `act-for`. */
  owner?: string;
  /** Limit for one response. */
  timeoutSeconds?: number;
  /** Limit of retrying a request without any response; `Infinity`: without end. */
  retryTimeoutSeconds?: number;
  /**
   * Time without any byte after which a stream's connection counts as dead: longer than the server's
   * `http.sse_keepalive_seconds`.
   */
  readTimeoutSeconds?: number;
  fetch?: typeof fetch;
}

export interface RequestOptions {
  signal?: AbortSignal;
  /** Your own idempotency key; by default a new one. */
  idempotencyKey?: string;
}

export type Query = Record<string, string | number | boolean | readonly string[] | undefined>;

interface RequestData extends RequestOptions {
  body?: unknown;
  query?: Query;
  /** Code of a 404 by which a repeated request learns that it was executed before. */
  doneCode?: string;
}

/**
 * Return a path of the API. Each segment stays one, whatever it is made of; empty ones, `.` and `..` are
 * refused, because no spelling keeps them in their place.
 */
export function apiPath(...segments: readonly (string | number)[]): string {
  return segments
    .map((segment) => {
      const text = String(segment);
      if (text === "" || text === "." || text === "..") throw new TypeError(`not an id: "${text}"`);
      return `/${encodeURIComponent(text)}`;
    })
    .join("");
}

const METHODS_WITH_IDEMPOTENCY_KEY = new Set(["POST", "PATCH"]);

export class Http {
  readonly #baseUrl: string;
  readonly #fetch: typeof fetch;

  constructor(
    baseUrl: string,
    private readonly options: ClientOptions,
  ) {
    this.#baseUrl = `${baseUrl.replace(/\/+$/, "")}/api/v1`;
    this.#fetch = options.fetch ?? globalThis.fetch.bind(globalThis);
  }

  /**
   * Return the JSON of the response; undefined when it has no body.
   *
   * Retried when the connection breaks or the server is unavailable. A POST or PATCH carries the same
   * idempotency key each time, so it is executed once.
   */
  request<T>(method: string, path: string, data: RequestData = {}): Promise<T> {
    return this.#repeat(method, path, data, async (response) => {
      const text = await response.text();
      return (text === "" ? undefined : this.#parse(text)) as T;
    });
  }

  /** Return the bytes of the response, with its media type. Retried like other requests. */
  download(path: string, data: RequestData = {}): Promise<Blob> {
    return this.#repeat("GET", path, data, (response) => response.blob());
  }

  async #repeat<T>(
    method: string,
    path: string,
    data: RequestData,
    read: (response: Response) => Promise<T>,
  ): Promise<T> {
    const backoff = new Backoff(this.options.retryTimeoutSeconds ?? 30);
    const headers: Record<string, string> = { accept: "application/json" };
    if (METHODS_WITH_IDEMPOTENCY_KEY.has(method)) {
      headers["idempotency-key"] = data.idempotencyKey ?? newIdempotencyKey();
    }
    if (data.body !== undefined) headers["content-type"] = "application/json";
    for (let repeated = false; ; repeated = true) {
      try {
        return await this.#sendOnce(method, path, headers, data, read);
      } catch (error) {
        // The attempt whose response was lost has deleted it.
        if (repeated && isNotFound(error) && error.code === data.doneCode) return undefined as T;
        const delay = isRetryable(error) ? backoff.nextDelay(error.retryAfter) : undefined;
        if (delay === undefined) throw error;
        await sleep(delay, data.signal);
      }
    }
  }

  /** Yield the bytes of a stream of events. The connection is closed when nothing arrives for too long. */
  async *stream(path: string, after: string | undefined, signal?: AbortSignal, onOpen?: () => void) {
    const readTimeout = this.options.readTimeoutSeconds ?? 45;
    const timeout = new Timeout(readTimeout, signal);
    const headers: Record<string, string> = { accept: "text/event-stream" };
    if (after !== undefined) headers["last-event-id"] = after;
    try {
      const response = await this.#send("GET", path, headers, {}, timeout);
      if (!response.headers.get("content-type")?.startsWith("text/event-stream") || !response.body) {
        throw new UnexpectedResponse(this.#baseUrl);
      }
      onOpen?.();
      const reader = response.body.getReader();
      while (true) {
        timeout.restart();
        const { done, value } = await this.#translateErrors(timeout, () => reader.read());
        if (done) return;
        yield value;
      }
    } finally {
      timeout.stop();
    }
  }

  async #sendOnce<T>(
    method: string,
    path: string,
    headers: Record<string, string>,
    data: RequestData,
    read: (response: Response) => Promise<T>,
  ): Promise<T> {
    const timeout = new Timeout(this.options.timeoutSeconds ?? 30, data.signal);
    try {
      const response = await this.#send(method, path, headers, data, timeout);
      return await this.#translateErrors(timeout, () => read(response));
    } finally {
      timeout.stop();
    }
  }

  async #send(
    method: string,
    path: string,
    headers: Record<string, string>,
    { body, query }: RequestData,
    timeout: Timeout,
  ): Promise<Response> {
    const init: RequestInit = {
      method,
      headers: { ...headers, ...(await this.#authHeaders()) },
      signal: timeout.signal,
      cache: "no-store",
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    };
    const response = await this.#translateErrors(timeout, () =>
      this.#fetch(`${this.#baseUrl}${path}${queryString(query)}`, init),
    );
    if (response.ok) return response;
    const problem = await this.#translateErrors(timeout, () => response.text());
    throw new ChatdHTTPError(response.status, parseJson(problem), retryAfter(response));
  }

  async #authHeaders(): Promise<Record<string, string>> {
    const { token, owner } = this.options;
    const bearer = typeof token === "function" ? await token() : token;
    return {
      ...(bearer === undefined ? {} : { authorization: `Bearer ${bearer}` }),
      ...(owner === undefined ? {} : { "x-chatd-owner": headerBytes(owner) }),
    };
  }

  async #translateErrors<T>(timeout: Timeout, act: () => Promise<T>): Promise<T> {
    try {
      return await act();
    } catch (error) {
      if (error instanceof ClientError) throw error;
      timeout.outer?.throwIfAborted();
      throw new ConnectFailed(this.#baseUrl, timeout.expired ? "it sends nothing" : String(error), {
        cause: error,
      });
    }
  }

  #parse(text: string): unknown {
    const value = parseJson(text);
    if (value === undefined) throw new UnexpectedResponse(this.#baseUrl);
    return value;
  }
}

/** Return the UTF-8 bytes of a header as characters: `fetch` accepts no others. */
function headerBytes(text: string): string {
  return String.fromCharCode(...new TextEncoder().encode(text));
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function queryString(query: Query = {}): string {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value === undefined) continue;
    for (const item of Array.isArray(value) ? value : [value]) params.append(name, String(item));
  }
  const text = params.toString();
  return text === "" ? "" : `?${text}`;
}

/** Return the seconds of `Retry-After`, which is a number or a date. */
function retryAfter(response: Response): number | undefined {
  const text = response.headers.get("retry-after");
  if (text === null) return undefined;
  if (/^\d+$/.test(text)) return Number(text);
  const date = Date.parse(text);
  return Number.isNaN(date) ? undefined : Math.max(0, (date - Date.now()) / 1000);
}

function isRetryable(error: unknown): error is ClientError {
  return error instanceof ClientError && error.retryable;
}

function isNotFound(error: unknown): error is ChatdHTTPError {
  return error instanceof ChatdHTTPError && error.status === 404;
}

/** Return a unique key, also where `crypto` is missing: Node 18, and pages served over plain HTTP. */
function newIdempotencyKey(): string {
  const uuid = globalThis.crypto?.randomUUID?.();
  return uuid ?? `${Date.now().toString(36)}-${Array.from({ length: 4 }, randomText).join("")}`;
}

function randomText(): string {
  return Math.random().toString(36).slice(2, 10);
}
