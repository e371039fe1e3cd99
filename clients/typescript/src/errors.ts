/** Errors of the client: the server cannot be reached, or it rejects a request. */

import type { CallDecision, Problem } from "./types.js";

/** Base class of every error that this client throws on purpose. */
export class ClientError extends Error {
  /** True if the same request may succeed later. */
  retryable = false;
  /** Seconds after which the server asks to retry. */
  retryAfter: number | undefined;
}

/** No response in spite of retries; `cause` is the last failure. */
export class ConnectFailed extends ClientError {
  override name = "ConnectFailed";
  override retryable = true;

  constructor(
    readonly url: string,
    reason: string,
    options?: ErrorOptions,
  ) {
    super(`No answer from ${url}: ${reason}`, options);
  }
}

/** A response that does not come from chatd. */
export class UnexpectedResponse extends ClientError {
  override name = "UnexpectedResponse";

  constructor(readonly url: string) {
    super(`What answers at ${url} is not a chatd.`);
  }
}

export interface FieldProblem {
  where: string;
  message: string;
}

const RETRYABLE_STATUSES = new Set([502, 503, 504]);

/**
 * A rejected request. `code` is stable and meant for programs, `detail` for people; `errors` names each
 * invalid field. `code` is `unknown` when a proxy between client and server rejected the request.
 */
export class ChatdHTTPError extends ClientError {
  override name = "ChatdHTTPError";
  readonly code: string;
  readonly detail: string;
  readonly errors: readonly FieldProblem[];
  /** The decisions about tool calls that stand, if `code` is `already_answered`. */
  readonly decisions: readonly CallDecision[];

  constructor(
    readonly status: number,
    problem: unknown,
    retryAfter?: number,
  ) {
    const body = (problem ?? {}) as Partial<Problem>;
    const code = body.code ?? "unknown";
    super(`${body.detail || "The server gave no reason."} (${status} ${code})`);
    this.code = code;
    this.detail = body.detail ?? "";
    this.errors = body.errors ?? [];
    this.decisions = body.decisions ?? [];
    this.retryAfter = retryAfter;
    // 429 is retryable only with a Retry-After: a full queue does not empty by asking again.
    this.retryable = RETRYABLE_STATUSES.has(status) || (status === 429 && retryAfter !== undefined);
  }
}
