/** Tools that a client runs for its chats, and posts the results of. */

import { sleep } from "./backoff.js";
import type { Client } from "./client.js";
import { ChatdHTTPError, ClientError } from "./errors.js";
import { Timeout } from "./timeout.js";
import type { ActionRequired, Chat, ChatEvent, Status, Tool, ToolResultInput } from "./types.js";

/** A call that a function of the client runs. */
export interface ToolCall {
  chatId: string;
  id: string;
  name: string;
  args: Record<string, unknown>;
  /**
   * The same each time that this call is run, and of no other call. A function that passes it on as an
   * idempotency key has its effect once, also if the client is restarted or two clients run.
   */
  key: string;
  /** Aborted by an interrupt, by the time limit, and when the chat no longer waits for the result. */
  signal: AbortSignal;
}

/** A tool: what the model reads of it, and the function that runs a call. */
export interface ClientTool {
  name: string;
  /** Purpose of the tool, for the model. */
  description?: string;
  /** JSON schema of the arguments, of type `object`. By default there are no arguments. */
  parameters?: Record<string, unknown>;
  /** Return the result, or a promise of it: a value that JSON can hold. */
  run: (call: ToolCall) => unknown;
  /** Time limit of one call, instead of that of all tools. */
  timeoutSeconds?: number;
}

export interface ClientToolsOptions {
  /** Limit of functions that run at once. */
  maxParallel?: number;
  /** Time limit of one call. */
  timeoutSeconds?: number;
  /** Limit of the JSON of one result. */
  maxResultBytes?: number;
}

export interface RunToolsOptions {
  /** Ends the run. The functions that run are aborted, and it throws the signal's reason. */
  signal?: AbortSignal;
  /** `false`: go on, for later messages, until the chat is deleted. */
  untilIdle?: boolean;
  /** Called with each event of the chat. */
  onEvent?: (event: ChatEvent) => void;
}

type PendingToolCall = ActionRequired["data"]["calls"][number];
type Results = ToolResultInput[];

/** Pause between attempts to post results, each of which is repeated by itself. */
const REPEAT_SECONDS = 1;
/** Longest text of an error that a model gets: some have a whole response in it. */
const MAX_ERROR_CHARS = 2000;
/** Refusals of results for calls that were answered already, by another client or in its place. */
const ANSWERED_CODES = new Set(["tool_call_unknown", "tool_results_missing", "idempotency_key_reused"]);

/**
 * Functions of this client that models call.
 *
 * They run side by side, within the limits of the options. An exception, a late or a large result is a result
 * with `is_error`, which the model reads. The results of one answer of the model are posted together. If the
 * client is restarted before, or if two clients run, a function may run twice, but each call gets one result.
 */
export class ClientTools {
  readonly #tools = new Map<string, ClientTool>();
  readonly #options: Required<ClientToolsOptions>;
  readonly #slots: Slots;

  constructor(options: ClientToolsOptions = {}) {
    this.#options = { maxParallel: 8, timeoutSeconds: 60, maxResultBytes: 256 * 1024, ...options };
    this.#slots = new Slots(this.#options.maxParallel);
  }

  /** Register a tool. */
  add(tool: ClientTool): this {
    this.#tools.set(tool.name, tool);
    return this;
  }

  /** The `tools` of `client.chats.create`. */
  get declarations(): Tool[] {
    return [...this.#tools.values()].map(({ name, description = "", parameters }) => {
      return { name, description, parameters: { type: "object", properties: {}, ...parameters } };
    });
  }

  /**
   * Follow a chat, run the calls that it waits for, and return the chat when it is idle; undefined when it
   * was deleted. An interrupt, an edit or the end of the chat's wait aborts the functions that run.
   */
  async run(client: Client, chatId: string, options: RunToolsOptions = {}): Promise<Chat | undefined> {
    const { signal, untilIdle = true, onEvent } = options;
    const stop = linkedController(signal);
    let round: { key: string; controller: AbortController } | undefined;
    const state = new ActionState();
    try {
      for await (const event of client.follow(chatId, { signal: stop.signal })) {
        state.apply(event);
        onEvent?.(event);
        const calls = state.action?.calls.filter((call) => call.kind === "result") ?? [];
        const key = calls[0] && resultsKey(chatId, calls[0].expires_at);
        if (key !== round?.key) {
          round?.controller.abort(new Error("the chat no longer waits for this"));
          round = key === undefined ? undefined : { key, controller: linkedController(stop.signal) };
          if (round !== undefined) {
            this.#answer(client, chatId, calls, round.key, round.controller.signal).catch(
              (error: unknown) => stop.abort(error),
            );
          }
        }
        if (untilIdle && state.idle) return await client.chats.get(chatId, signal ? { signal } : {});
      }
    } finally {
      stop.abort(new Error("the run has ended"));
    }
    return undefined;
  }

  /** Run calls and post their results. An abort ends it without an error. */
  async #answer(
    client: Client,
    chatId: string,
    calls: readonly PendingToolCall[],
    key: string,
    signal: AbortSignal,
  ): Promise<void> {
    try {
      const results = await Promise.all(calls.map((call) => this.#runCall(chatId, call, key, signal)));
      try {
        await post(client, chatId, results, key, signal);
      } catch (error) {
        // Such as results that are too large together.
        if (!(error instanceof ChatdHTTPError) || ![400, 413, 422].includes(error.status)) throw error;
        const refused = `The result could not be stored: ${error.message}`;
        await post(client, chatId, results.map((one) => errorResult(one.tool_call_id, refused)), key, signal);
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  async #runCall(
    chatId: string,
    { tool_call_id: id, tool_name: name, args: text }: PendingToolCall,
    key: string,
    signal: AbortSignal,
  ): Promise<ToolResultInput> {
    const tool = this.#tools.get(name);
    if (tool === undefined) return errorResult(id, `This client has no tool named ${name}.`);
    const args = parseArgs(text);
    if (typeof args === "string") return errorResult(id, `The arguments are not a JSON object: ${args}`);
    const release = await this.#slots.take(signal);
    const seconds = tool.timeoutSeconds ?? this.#options.timeoutSeconds;
    try {
      const timeout = new Timeout(seconds, signal);
      try {
        const call = { chatId, id, name, args, key: `${key}-${id}`, signal: timeout.signal };
        const result = (await Promise.race([startCall(tool, call), rejection(timeout.signal)])) ?? null;
        const size = new TextEncoder().encode(JSON.stringify(result)).length;
        const limit = this.#options.maxResultBytes;
        if (size <= limit) return { tool_call_id: id, result };
        return errorResult(id, `The result has ${size} bytes. At most ${limit} are allowed.`);
      } catch (error) {
        signal.throwIfAborted();
        if (timeout.expired) return errorResult(id, `Stopped after ${seconds} s. It may have had effects.`);
        return errorResult(id, String(error));
      } finally {
        timeout.stop();
      }
    } finally {
      release();
    }
  }
}

/** What a chat waits for, by its events. */
class ActionState {
  action: ActionRequired["data"] | undefined;
  #status: Status | undefined;

  get idle(): boolean {
    return this.#status === "waiting" || this.#status === "error";
  }

  apply({ event, data }: ChatEvent): void {
    if (event === "snapshot") {
      this.#status = data.chat.status;
      this.action = data.action_required ?? undefined;
    } else if (event === "action_required") {
      this.action = data;
    } else if (event === "action_answered" && this.action !== undefined) {
      const calls = this.action.calls.filter((call) => data.open.includes(call.tool_call_id));
      this.action = data.deadline === null ? undefined : { calls, deadline: data.deadline };
    } else if (event === "status") {
      this.#status = data.status;
      if (data.status !== "requires_action") this.action = undefined;
    }
  }
}

/** Slots of functions that run at once. Who waits for one gets it in order. */
class Slots {
  readonly #waiting: (() => void)[] = [];

  constructor(private free: number) {}

  /** Wait for a slot, and return the function that gives it back. */
  async take(signal: AbortSignal): Promise<() => void> {
    if (this.free > 0) this.free -= 1;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    const release = () => {
      const next = this.#waiting.shift();
      if (next === undefined) this.free += 1;
      else next();
    };
    if (signal.aborted) release();
    signal.throwIfAborted();
    return release;
  }
}

/** Post results until the server answers. Those of answered calls change nothing. */
async function post(client: Client, chatId: string, results: Results, key: string, signal: AbortSignal) {
  for (;;) {
    try {
      await client.submitToolResults(chatId, results, { idempotencyKey: key, signal });
      return;
    } catch (error) {
      if (error instanceof ChatdHTTPError) {
        if (error.status === 404 || error.status === 409 || ANSWERED_CODES.has(error.code)) return;
      }
      if (!(error instanceof ClientError && error.retryable)) throw error;
    }
    await sleep(REPEAT_SECONDS, signal);
  }
}

async function startCall(tool: ClientTool, call: ToolCall): Promise<unknown> {
  return tool.run(call);
}

/** Reject when the signal is aborted. */
function rejection(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

/** Return a controller that an outer signal aborts, too. */
function linkedController(outer?: AbortSignal): AbortController {
  const controller = new AbortController();
  outer?.throwIfAborted();
  outer?.addEventListener("abort", () => controller.abort(outer.reason), {
    once: true,
    signal: controller.signal,
  });
  return controller;
}

/** Return the arguments, or what is wrong. A model may write none for a tool without parameters. */
function parseArgs(text: string): Record<string, unknown> | string {
  if (text.trim() === "") return {};
  try {
    const args: unknown = JSON.parse(text);
    const isObject = typeof args === "object" && args !== null && !Array.isArray(args);
    return isObject ? (args as Record<string, unknown>) : "it is another value";
  } catch (error) {
    return String(error);
  }
}

function errorResult(id: string, text: string): ToolResultInput {
  return { tool_call_id: id, result: text.slice(0, MAX_ERROR_CHARS), is_error: true };
}

/**
 * Return the idempotency key of the results that a chat waits for until then.
 *
 * Every client makes the same, also after a restart. So results that arrive late, when the chat already waits
 * for other calls, are not taken for theirs, although models use the ids of their calls again.
 */
function resultsKey(chatId: string, expiresAt: string): string {
  return `tool-results-${chatId}-${expiresAt}`;
}
