import { Following, ofAllChats, ofOneChat, type FollowOptions } from "./follow.js";
import { Http, type ClientOptions, type Query, type RequestOptions } from "./http.js";
import type {
  ChangeChat,
  Chat,
  ChatEvent,
  Content,
  CreateChat,
  Explanation,
  JournalEntry,
  ListEvent,
  Message,
  Model,
  QueuedMessage,
  SendMessage,
  Sent,
  Status,
  ToolResult,
} from "./shapes.js";

interface Page<Item> {
  items: Item[];
  next_cursor?: string | null;
}

/** The items of all pages; the next page is asked for when it is needed. */
async function* pages<Item>(
  http: Http,
  path: string,
  query: Query,
  key = "cursor",
): AsyncGenerator<Item, void, undefined> {
  let place: string | undefined;
  do {
    const asked = place === undefined ? query : { ...query, [key]: place };
    const page = await http.ask<Page<Item>>("GET", path, { query: asked });
    yield* page.items;
    place = page.next_cursor ?? undefined;
  } while (place !== undefined);
}

/** A caller of one chatd, or of several behind one address. */
export class Client {
  readonly chats: Chats;
  readonly messages: Messages;
  readonly queue: Queue;
  readonly #http: Http;

  constructor(baseUrl: string, options: ClientOptions = {}) {
    this.#http = new Http(baseUrl, options);
    this.chats = new Chats(this.#http);
    this.messages = new Messages(this.#http);
    this.queue = new Queue(this.#http);
  }

  /** The models that a chat may ask for. */
  async models(): Promise<Model[]> {
    return (await this.#http.ask<Page<Model>>("GET", "/models")).items;
  }

  /** Answer all the calls that the chat waits for; it goes on with them. */
  submitToolResults(
    chatId: string,
    results: readonly ToolResult[],
    options: RequestOptions = {},
  ): Promise<Chat> {
    return this.#http.ask("POST", `/chats/${chatId}/tool-results`, { ...options, body: { results } });
  }

  /**
   * What happens in a chat, each event once, over cut wires and restarts of the server.
   *
   * Begins with a `snapshot`, or after the event `after`. Ends when the chat is deleted.
   */
  follow(chatId: string, options: FollowOptions = {}): Following<ChatEvent> {
    return new Following(this.#http, `/chats/${chatId}/stream`, options, ofOneChat());
  }

  /** What happens among all your chats: each as it is, whenever one of them moved. */
  followAll(options: FollowOptions = {}): Following<ListEvent> {
    return new Following(this.#http, "/chats/stream", options, ofAllChats());
  }
}

export interface ListOptions {
  archived?: boolean;
  status?: Status;
  /** `name` or `name:value`; all of them must be there. */
  labels?: readonly string[];
  parent?: string;
  /** Looked for in titles. */
  q?: string;
  pageSize?: number;
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
    return this.http.ask("POST", "/chats", { ...given({ signal, idempotencyKey }), body });
  }

  /** One chat, as it is now. */
  get(chatId: string, options: RequestOptions = {}): Promise<Chat> {
    return this.http.ask("GET", `/chats/${chatId}`, options);
  }

  /** Your chats, most recently touched first. */
  list({ labels, pageSize = 50, ...more }: ListOptions = {}): AsyncGenerator<Chat, void, undefined> {
    return pages(this.http, "/chats", { ...more, label: labels, limit: pageSize });
  }

  /** Change title or labels at any time; archive or unarchive a chat, with its family, at rest. */
  change(chatId: string, fields: ChangeChat, options: RequestOptions = {}): Promise<Chat> {
    return this.http.ask("PATCH", `/chats/${chatId}`, { ...options, body: fields });
  }

  /** Delete a chat and all that was said in it. */
  delete(chatId: string, options: RequestOptions = {}): Promise<void> {
    return this.http.ask("DELETE", `/chats/${chatId}`, options);
  }

  /** Stop what the chat is doing. What the model said so far is kept. */
  interrupt(chatId: string, options: RequestOptions = {}): Promise<Chat> {
    return this.http.ask("POST", `/chats/${chatId}/interrupt`, options);
  }

  /** Try a failed turn again, without a new message. */
  retry(chatId: string, options: RequestOptions = {}): Promise<Chat> {
    return this.http.ask("POST", `/chats/${chatId}/retry`, options);
  }

  /** Begin anew in the same chat: what was said is no longer shown or told to the model. */
  clear(chatId: string, options: RequestOptions = {}): Promise<Chat> {
    return this.http.ask("POST", `/chats/${chatId}/clear`, options);
  }

  /** What the chat is doing, who does it, and what it waits for. */
  explain(chatId: string, options: RequestOptions = {}): Promise<Explanation> {
    return this.http.ask("GET", `/chats/${chatId}/explain`, options);
  }

  /** The journal: every move that was made on the chat, oldest first. */
  events(
    chatId: string,
    { after = 0, pageSize = 100 }: { after?: number; pageSize?: number } = {},
  ): AsyncGenerator<JournalEntry, void, undefined> {
    return pages(this.http, `/chats/${chatId}/events`, { after, limit: pageSize }, "after");
  }
}

export class Messages {
  constructor(private readonly http: Http) {}

  /** The history, oldest first, from the start or after a message. */
  list(
    chatId: string,
    { afterId = 0, pageSize = 100 }: { afterId?: number; pageSize?: number } = {},
  ): AsyncGenerator<Message, void, undefined> {
    const query = { after_id: afterId, limit: pageSize };
    return pages(this.http, `/chats/${chatId}/messages`, query, "after_id");
  }

  /** Say something; `busy_behavior` is what to do when the chat is busy: by default, to wait. */
  send(
    chatId: string,
    content: Content,
    more: Omit<SendMessage, "content"> & RequestOptions = {},
  ): Promise<Sent> {
    const { signal, idempotencyKey, ...fields } = more;
    const body = { content, ...fields };
    const options = given({ signal, idempotencyKey });
    return this.http.ask("POST", `/chats/${chatId}/messages`, { ...options, body });
  }

  /** Say it differently: the message and all later ones are replaced by a new one. */
  edit(
    chatId: string,
    messageId: number,
    content: Content,
    options: RequestOptions = {},
  ): Promise<Message> {
    const path = `/chats/${chatId}/messages/${messageId}`;
    return this.http.ask("PATCH", path, { ...options, body: { content } });
  }
}

export class Queue {
  constructor(private readonly http: Http) {}

  /** The messages that wait for the running turn to end, the next one first. */
  async list(chatId: string, options: RequestOptions = {}): Promise<QueuedMessage[]> {
    const page = await this.http.ask<Page<QueuedMessage>>("GET", `/chats/${chatId}/queue`, options);
    return page.items;
  }

  /** Take a message out of the queue. */
  remove(chatId: string, queuedId: number, options: RequestOptions = {}): Promise<void> {
    return this.http.ask("DELETE", `/chats/${chatId}/queue/${queuedId}`, options);
  }

  /** Answer a waiting message now; what is running is stopped first. */
  promote(chatId: string, queuedId: number, options: RequestOptions = {}): Promise<Chat> {
    return this.http.ask("POST", `/chats/${chatId}/queue/${queuedId}/promote`, options);
  }
}

function given({ signal, idempotencyKey }: { [K in keyof RequestOptions]: RequestOptions[K] | undefined }) {
  return {
    ...(signal === undefined ? {} : { signal }),
    ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
  };
}
