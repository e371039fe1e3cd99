import { apiPath, type Http, type RequestOptions } from "./http.js";
import type { Fleet as FleetState, FleetChat, MetricsHistory, Status } from "./types.js";

/** Methods for operators. Each takes a token with the scope `operate`. */
export class Fleet {
  constructor(private readonly http: Http) {}

  /** Return the workers with their leases, and the active chats by status, owner and stage. */
  get(options: RequestOptions = {}): Promise<FleetState> {
    return this.http.request("GET", "/fleet", options);
  }

  /** Return the last hour of the metrics of the process that answers. */
  history(options: RequestOptions = {}): Promise<MetricsHistory> {
    return this.http.request("GET", "/fleet/history", options);
  }

  /** Return active chats of all owners, the longest in their status first. */
  async chats(
    { status, ownerId, limit = 50 }: { status?: Status; ownerId?: string; limit?: number } = {},
    options: RequestOptions = {},
  ): Promise<FleetChat[]> {
    const query = {
      limit,
      ...(status === undefined ? {} : { status }),
      ...(ownerId === undefined ? {} : { owner_id: ownerId }),
    };
    const page: { items: FleetChat[] } = await this.http.request("GET", "/fleet/chats", { ...options, query });
    return page.items;
  }

  /** Stop the running turn of a chat of any owner. The answer so far is kept. */
  interrupt(chatId: string, options: RequestOptions = {}): Promise<FleetChat> {
    return this.http.request("POST", apiPath("fleet", "chats", chatId, "interrupt"), options);
  }

  /** Retry the failed turn of a chat of any owner. */
  retry(chatId: string, options: RequestOptions = {}): Promise<FleetChat> {
    return this.http.request("POST", apiPath("fleet", "chats", chatId, "retry"), options);
  }

  /** Archive an idle chat of any owner, with its descendants. */
  archive(chatId: string, options: RequestOptions = {}): Promise<FleetChat> {
    return this.http.request("POST", apiPath("fleet", "chats", chatId, "archive"), options);
  }

  /** Ask a worker to claim no more chats. Its turns go on. */
  drain(workerId: string, options: RequestOptions = {}): Promise<void> {
    return this.http.request("PUT", apiPath("fleet", "workers", workerId, "drain"), options);
  }

  /** Have a worker that drains claim chats again. */
  resume(workerId: string, options: RequestOptions = {}): Promise<void> {
    return this.http.request("DELETE", apiPath("fleet", "workers", workerId, "drain"), options);
  }
}
