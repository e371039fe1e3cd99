/** A client of chatd for browsers and Node: typed, reconnecting, without dependencies. */

export { Client, type Chats, type FollowListOptions, type FoundChat, type ListOptions, type Messages, type Queue, type SearchOptions } from "./client.js";
export {
  ChatdHTTPError,
  ClientError,
  ConnectFailed,
  UnexpectedResponse,
  type FieldProblem,
} from "./errors.js";
export type { EventStream, FollowOptions } from "./follow.js";
export type { ClientOptions, RequestOptions } from "./http.js";
export type { components, operations, paths } from "./openapi.js";
export * from "./types.js";
export { Parser, type ServerSentEvent } from "./sse.js";
export {
  ClientTools,
  type ClientTool,
  type ClientToolsOptions,
  type RunToolsOptions,
  type ToolCall,
} from "./tools.js";
