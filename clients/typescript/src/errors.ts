/** What may go wrong for a caller: the server cannot be reached, or it refuses and says why. */

/** Everything that this client throws on purpose. */
export class ClientError extends Error {
  /** Whether the same request may well succeed later. */
  passing = false;
  /** Seconds after which the server asks to be asked again. */
  retryAfter: number | undefined;
}

/** No answer could be had, however often it was asked; `cause` says what happened last. */
export class Unreachable extends ClientError {
  override name = "Unreachable";
  override passing = true;

  constructor(
    readonly url: string,
    why: string,
    options?: ErrorOptions,
  ) {
    super(`No answer from ${url}: ${why}`, options);
  }
}

/** Something answers at this address, but not as a chatd would. */
export class NotChatd extends ClientError {
  override name = "NotChatd";

  constructor(readonly url: string) {
    super(`What answers at ${url} is not a chatd.`);
  }
}

export interface FieldProblem {
  where: string;
  message: string;
}

const PASSING = new Set([502, 503, 504]);

/**
 * The server refused. `code` is stable and meant for programs, `detail` for people; `errors` names
 * each field that is wrong. What stands between client and server may refuse in words of its own:
 * then `code` is `unknown`.
 */
export class ChatdHTTPError extends ClientError {
  override name = "ChatdHTTPError";
  readonly code: string;
  readonly detail: string;
  readonly errors: readonly FieldProblem[];

  constructor(
    readonly status: number,
    problem: unknown,
    retryAfter?: number,
  ) {
    const told = (problem ?? {}) as { code?: string; detail?: string; errors?: FieldProblem[] };
    const code = told.code ?? "unknown";
    super(`${told.detail || "The server gave no reason."} (${status} ${code})`);
    this.code = code;
    this.detail = told.detail ?? "";
    this.errors = told.errors ?? [];
    this.retryAfter = retryAfter;
    // A full queue does not empty by asking again: 429 passes only when it says after how long.
    this.passing = PASSING.has(status) || (status === 429 && retryAfter !== undefined);
  }
}
