import { Fleet } from "./fleet.js";
import { EventStream, chatListRules, chatRules, type FollowOptions } from "./follow.js";
import { apiPath, Http, type ClientOptions, type Query, type RequestOptions } from "./http.js";
import type {
  ActionAnswer,
  AppendMessagesResult,
  ToolApproval,
  UpdateChat,
  Chat,
  ChatEvent,
  ChatListPage,
  Content,
  CompactChat,
  CreateChat,
  ForkChat,
  Explanation,
  JournalEntry,
  ChatListEvent,
  Message,
  MessageInput,
  MessageMatch,
  Model,
  QueuedMessage,
  SendMessage,
  SendMessageResult,
  Status,
  ToolCallRecord,
  ToolResultInput,
} from "./types.js";

interface Page<Item> {
  items: Item[];
  next_cursor?: string | null;
}

/** Yield the items of all pages. A page is fetched when it is needed. */
async function* paginate<Item>(
  http: Http,
  path: string,
  query: Query,
  cursorParam = "cursor",
  options: RequestOptions = {},
): AsyncGenerator<Item, void, undefined> {
  for await (const page of pages<Item>(http, path, query, cursorParam, options)) yield* page.items;
}

async function* pages<Item, P extends Page<Item> = Page<Item>>(
  http: Http,
  path: string,
  query: Query,
  cursorParam = "cursor",
  options: RequestOptions = {},
): AsyncGenerator<P, void, undefined> {
  let cursor: string | undefined;
  do {
    const pageQuery = cursor === undefined ? query : { ...query, [cursorParam]: cursor };
    const page = await http.request<P>("GET", path, { ...options, query: pageQuery });
    yield page;
    cursor = page.next_cursor ?? undefined;
  } while (cursor !== undefined);
}

/** A client of one chatd, or of several behind one address. */
export class Client {
  readonly chats: Chats;
  readonly messages: Messages;
  readonly queue: Queue;
  /** Methods for operators. */
  readonly fleet: Fleet;
  readonly #http: Http;

  constructor(baseUrl: string, options: ClientOptions = {}) {
    this.#http = new Http(baseUrl, options);
    this.chats = new Chats(this.#http);
    this.messages = new Messages(this.#http);
    this.queue = new Queue(this.#http);
    this.fleet = new Fleet(this.#http);
  }

  /** Return the models that a chat may use. */
  async models(): Promise<Model[]> {
    return (await this.#http.request<Page<Model>>("GET", "/models")).items;
  }

  /** Post the results of all tool calls that the chat waits for. */
  submitToolResults(
    chatId: string,
    results: readonly ToolResultInput[],
    options: RequestOptions = {},
  ): Promise<Chat> {
    return this.#http.request("POST", apiPath("chats", chatId, "tool-results"), { ...options, body: { results } });
  }

  /**
   * Answer some or all of the calls that the chat waits for: with an approval, an input or a result each.
   *
   * A rejection with the code `already_answered` has the decisions that stand.
   */
  answerActions(chatId: string, answers: readonly ActionAnswer[], options: RequestOptions = {}): Promise<Chat> {
    return this.#http.request("POST", apiPath("chats", chatId, "actions"), { ...options, body: { answers } });
  }

  /** Allow a call to run: with other `args`, or with `remember: "chat"` for later calls of the tool, too. */
  approve(
    chatId: string,
    toolCallId: string,
    { args, remember, ...options }: Pick<ToolApproval, "args" | "remember"> & RequestOptions = {},
  ): Promise<Chat> {
    const given = { ...(args ? { args } : {}), ...(remember ? { remember } : {}) };
    return this.answerActions(chatId, [{ tool_call_id: toolCallId, decision: "allow", ...given }], options);
  }

  /** Do not allow a call to run. The model reads the `reason`. */
  deny(
    chatId: string,
    toolCallId: string,
    { reason, remember, ...options }: Pick<ToolApproval, "reason" | "remember"> & RequestOptions = {},
  ): Promise<Chat> {
    const given = { ...(reason ? { reason } : {}), ...(remember ? { remember } : {}) };
    return this.answerActions(chatId, [{ tool_call_id: toolCallId, decision: "deny", ...given }], options);
  }

  /**
   * Follow a chat: each event once, across cut connections and restarts of the server.
   *
   * Begins with a `snapshot`, or after the event `after`. Ends when the chat is deleted.
   */
  follow(chatId: string, options: FollowOptions = {}): EventStream<ChatEvent> {
    return new EventStream(this.#http, apiPath("chats", chatId, "stream"), options, chatRules());
  }

  /**
   * Follow the list of your chats: each chat as it is, whenever it changes.
   *
   * Every change is sent, so a chat leaves the list when it comes as archived.
   */
  followAll(options: FollowListOptions = {}): EventStream<ChatListEvent> {
    const path = `/chats/stream?archived=${options.archived ?? false}`;
    return new EventStream(this.#http, path, options, chatListRules());
  }
}

export interface FollowListOptions extends FollowOptions {
  /** `true`: a snapshot of archived chats only. `"any"`: these too. */
  archived?: boolean | "any";
}

export interface ListOptions {
  /** `true`: archived chats only. `"any"`: these too. */
  archived?: boolean | "any";
  status?: Status;
  /** `name` or `name:value`; all of them must match. */
  labels?: readonly string[];
  /** Id of the chat that started them, or `"none"`: chats that no other one started. */
  parent?: string;
  /** Part of the title. */
  q?: string;
  pageSize?: number;
}

export type SearchOptions = Omit<ListOptions, "q">;

/** A chat that a search found, and its newest message that has the words. */
export interface FoundChat {
  chat: Chat;
  match: MessageMatch;
}

export class Chats {
  constructor(private readonly http: Http) {}

  /** Create a chat. With `content` it is answered at once; without, it waits for a message. */
  create(
    content?: Content,
    more: Omit<CreateChat, "content"> & RequestOptions = {},
  ): Promise<Chat> {
    const { signal, idempotencyKey, ...fields } = more;
    const body = content === undefined ? fields : { content, ...fields };
    return this.http.request("POST", "/chats", { ...dropUndefined({ signal, idempotencyKey }), body });
  }

  /** Make a new chat with the history of this one, and its files and tools. It waits for a message. */
  fork(chatId: string, more: ForkChat & RequestOptions = {}): Promise<Chat> {
    const { signal, idempotencyKey, ...body } = more;
    const options = dropUndefined({ signal, idempotencyKey });
    return this.http.request("POST", apiPath("chats", chatId, "fork"), { ...options, body });
  }

  /** Return one chat, as it is now. */
  get(chatId: string, options: RequestOptions = {}): Promise<Chat> {
    return this.http.request("GET", apiPath("chats", chatId), options);
  }

  /** Yield your chats, the most recently changed first. */
  list({ labels, pageSize = 50, ...more }: ListOptions = {}): AsyncGenerator<Chat, void, undefined> {
    return paginate(this.http, "/chats", { ...more, label: labels, limit: pageSize });
  }

  /** Yield the chats that this one has started, also archived ones, the most recently changed first. */
  children(chatId: string, { pageSize }: { pageSize?: number } = {}): AsyncGenerator<Chat, void, undefined> {
    return this.list({ parent: chatId, archived: "any", ...(pageSize ? { pageSize } : {}) });
  }

  /**
   * Yield your chats with a message that has these words, the most recently changed first, each with its newest
   * such message. Messages are found some seconds after they were stored.
   */
  async *search(
    words: string,
    { labels, pageSize = 50, ...more }: SearchOptions = {},
  ): AsyncGenerator<FoundChat, void, undefined> {
    const query = { ...more, q: words, in: "messages", label: labels, limit: pageSize };
    for await (const page of pages<Chat, ChatListPage>(this.http, "/chats", query)) {
      for (const chat of page.items) {
        const match = page.matches?.[chat.id];
        if (match !== undefined) yield { chat, match };
      }
    }
  }

  /** Change title or labels at any time; archive or unarchive an idle chat. */
  update(chatId: string, fields: UpdateChat, options: RequestOptions = {}): Promise<Chat> {
    return this.http.request("PATCH", apiPath("chats", chatId), { ...options, body: fields });
  }

  /** Delete a chat and everything that is stored about it. */
  delete(chatId: string, options: RequestOptions = {}): Promise<void> {
    return this.http.request("DELETE", apiPath("chats", chatId), { ...options, doneCode: "chat_not_found" });
  }

  /** Interrupt the running turn. What the model said so far is kept. */
  interrupt(chatId: string, options: RequestOptions = {}): Promise<Chat> {
    return this.http.request("POST", apiPath("chats", chatId, "interrupt"), options);
  }

  /** Retry a failed turn, without a new message. */
  retry(chatId: string, options: RequestOptions = {}): Promise<Chat> {
    return this.http.request("POST", apiPath("chats", chatId, "retry"), options);
  }

  /** Clear the history, all but the system prompt. */
  clear(chatId: string, options: RequestOptions = {}): Promise<Chat> {
    return this.http.request("POST", apiPath("chats", chatId, "clear"), options);
  }

  /** Have a summary written that the model is shown in place of the history so far. */
  compact(chatId: string, more: CompactChat & RequestOptions = {}): Promise<Chat> {
    const { signal, idempotencyKey, ...body } = more;
    const options = dropUndefined({ signal, idempotencyKey });
    return this.http.request("POST", apiPath("chats", chatId, "compact"), { ...options, body });
  }

  /** Explain why the chat is in its state: its worker, its activity, and what it waits for. */
  explain(chatId: string, options: RequestOptions = {}): Promise<Explanation> {
    return this.http.request("GET", apiPath("chats", chatId, "explain"), options);
  }

  /** Yield the tool calls: their states, policies, tries and times. Arguments and results are in messages. */
  toolCalls(
    chatId: string,
    { afterId = 0, pageSize = 100 }: { afterId?: number; pageSize?: number } = {},
  ): AsyncGenerator<ToolCallRecord, void, undefined> {
    const query = { after_id: afterId, limit: pageSize };
    return paginate(this.http, apiPath("chats", chatId, "tool-calls"), query, "after_id");
  }

  /** Yield the journal: every transition of the chat, oldest first. */
  events(
    chatId: string,
    { after = 0, pageSize = 100 }: { after?: number; pageSize?: number } = {},
  ): AsyncGenerator<JournalEntry, void, undefined> {
    return paginate(this.http, apiPath("chats", chatId, "events"), { after, limit: pageSize }, "after");
  }
}

export class Messages {
  constructor(private readonly http: Http) {}

  /** Yield the history, oldest first, from the start or after a message. */
  list(
    chatId: string,
    { afterId = 0, pageSize = 100 }: { afterId?: number; pageSize?: number } = {},
  ): AsyncGenerator<Message, void, undefined> {
    const query = { after_id: afterId, limit: pageSize };
    return paginate(this.http, apiPath("chats", chatId, "messages"), query, "after_id");
  }

  /**
   * Yield the history before a message, newest first.
   *
   * A snapshot has the newest messages only. Its `older_cursor` is the `beforeId` of the others.
   */
  async *listOlder(
    chatId: string,
    beforeId: number | string,
    { pageSize = 100 }: { pageSize?: number } = {},
  ): AsyncGenerator<Message, void, undefined> {
    const path = apiPath("chats", chatId, "messages");
    let cursor: number | string | undefined = beforeId;
    while (cursor !== undefined) {
      const query: Query = { before_id: cursor, limit: pageSize };
      const page: Page<Message> = await this.http.request("GET", path, { query });
      yield* page.items.reverse();
      cursor = page.next_cursor ?? undefined;
    }
  }

  /** Send a message. `busy_behavior` says what happens when the chat is busy: by default it is queued. */
  send(
    chatId: string,
    content: Content,
    more: Omit<SendMessage, "content"> & RequestOptions = {},
  ): Promise<SendMessageResult> {
    const { signal, idempotencyKey, ...fields } = more;
    const body = { content, ...fields };
    const options = dropUndefined({ signal, idempotencyKey });
    return this.http.request("POST", apiPath("chats", chatId, "messages"), { ...options, body });
  }

  /** Store messages of any role at the end of an idle chat's history. None is answered. */
  append(
    chatId: string,
    messages: MessageInput[],
    options: RequestOptions = {},
  ): Promise<AppendMessagesResult> {
    return this.http.request("POST", apiPath("chats", chatId, "append"), { ...options, body: { messages } });
  }

  /** Edit a message: it and all later ones are replaced by a new one, which is answered. */
  edit(
    chatId: string,
    messageId: number,
    content: Content,
    options: RequestOptions = {},
  ): Promise<Message> {
    const path = apiPath("chats", chatId, "messages", messageId);
    return this.http.request("PATCH", path, { ...options, body: { content } });
  }

  /** Have the user's message that led to this one answered again. Later messages are dropped. */
  regenerate(chatId: string, messageId: number, options: RequestOptions = {}): Promise<Chat> {
    const path = apiPath("chats", chatId, "messages", messageId, "regenerate");
    return this.http.request("POST", path, options);
  }

  /** Return a file that a message of the chat refers to. */
  file(chatId: string, fileId: string, options: RequestOptions = {}): Promise<Blob> {
    return this.http.download(apiPath("chats", chatId, "files", fileId), options);
  }
}

export class Queue {
  constructor(private readonly http: Http) {}

  /** Return the queued messages, the next one first. */
  async list(chatId: string, options: RequestOptions = {}): Promise<QueuedMessage[]> {
    const path = apiPath("chats", chatId, "queue");
    const items: QueuedMessage[] = [];
    for await (const item of paginate<QueuedMessage>(this.http, path, {}, "after_id", options)) {
      items.push(item);
    }
    return items;
  }

  /** Remove a queued message. */
  remove(chatId: string, queuedId: number, options: RequestOptions = {}): Promise<void> {
    const path = apiPath("chats", chatId, "queue", queuedId);
    return this.http.request("DELETE", path, { ...options, doneCode: "queued_message_not_found" });
  }

  /** Answer a queued message next; the running turn is interrupted. */
  promote(chatId: string, queuedId: number, options: RequestOptions = {}): Promise<Chat> {
    return this.http.request("POST", apiPath("chats", chatId, "queue", queuedId, "promote"), options);
  }
}

function dropUndefined({ signal, idempotencyKey }: { [K in keyof RequestOptions]: RequestOptions[K] | undefined }) {
  return {
    ...(signal === undefined ? {} : { signal }),
    ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
  };
}
