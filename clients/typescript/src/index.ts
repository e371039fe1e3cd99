/** A client of chatd for browsers and Node: typed, patient, and with no dependency. */

export { Client, type Chats, type ListOptions, type Messages, type Queue } from "./client.js";
export {
  ChatdHTTPError,
  ClientError,
  NotChatd,
  Unreachable,
  type FieldProblem,
} from "./errors.js";
export type { Following, FollowOptions } from "./follow.js";
export type { ClientOptions, RequestOptions } from "./http.js";
export type { components, operations, paths } from "./openapi.js";
export * from "./shapes.js";
export { Parser, type ServerSentEvent } from "./sse.js";
