/** The types of the API, by the names of its OpenAPI document. */

import type { components } from "./openapi.js";

type Schemas = components["schemas"];

export type Chat = Schemas["Chat"];
export type ChatListPage = Schemas["ChatListPage"];
export type Message = Schemas["Message"];
export type MessageInput = Schemas["MessageInput"];
export type AppendMessagesResult = Schemas["AppendMessagesResult"];
export type MessageMatch = Schemas["MessageMatch"];
export type QueuedMessage = Schemas["QueuedMessage"];
export type SendMessageResult = Schemas["SendMessageResult"];
export type Model = Schemas["Model"];
export type JournalEntry = Schemas["JournalEntry"];
export type Fleet = Schemas["Fleet"];
export type FleetChat = Schemas["FleetChat"];
export type MetricsHistory = Schemas["MetricsHistory"];
export type Explanation = Schemas["Explanation"];
export type Problem = Schemas["Problem"];
export type FailureDetail = Schemas["FailureDetail"];
export type Status = Schemas["Status"];
export type BusyBehavior = Schemas["BusyBehavior"];
export type Part = Message["content"][number];

export type Content = Schemas["SendMessage"]["content"];
export type CreateChat = Schemas["CreateChat"];
export type ForkChat = Schemas["ForkChat"];
export type CompactChat = Schemas["CompactChat"];
export type UpdateChat = Schemas["UpdateChat"];
export type SendMessage = Schemas["SendMessage"];
export type Tool = Schemas["Tool"];
export type Action = Schemas["Action"];
export type ToolApproval = Schemas["ToolApproval"];
export type ToolInput = Schemas["ToolInput"];
export type ActionAnswer = Schemas["AnswerActions"]["answers"][number];
export type CallDecision = Schemas["CallDecision"];
export type ToolCallRecord = Schemas["ToolCallRecord"];
export type ToolResultInput = Schemas["ToolResultInput"];

export type ChatEvent = Schemas["ChatEvent"];
export type ChatListEvent = Schemas["ChatListEvent"];
export type Snapshot = Schemas["Snapshot"];
export type StatusChanged = Schemas["StatusChanged"];
export type MessageStored = Schemas["MessageStored"];
export type MessagePart = Schemas["MessagePart"];
export type PreviewReset = Schemas["PreviewReset"];
export type HistoryCompacted = Schemas["HistoryCompacted"];
export type HistoryReset = Schemas["HistoryReset"];
export type QueueChanged = Schemas["QueueChanged"];
export type ActionRequired = Schemas["ActionRequired"];
export type ActionAnswered = Schemas["ActionAnswered"];
export type ToolCallsChanged = Schemas["ToolCallsChanged"];
export type RetryScheduled = Schemas["RetryScheduled"];
export type TurnFailed = Schemas["TurnFailed"];
export type ChatUpdated = Schemas["ChatUpdated"];
export type ChatDeleted = Schemas["ChatDeleted"];
export type StreamReset = Schemas["StreamReset"];
export type ChatListSnapshot = Schemas["ChatListSnapshot"];
export type ChatChanged = Schemas["ChatChanged"];
/** A streamed piece of a part. */
export type PartDelta = MessagePart["data"];

/** Return the text of all text parts, joined. */
export function textOf(content: readonly (Part | PartDelta)[]): string {
  return content.map((part) => (part.type === "text" ? part.text : "")).join("");
}
