/** The types of the API, by the names of its document. */

import type { components } from "./openapi.js";

type Schemas = components["schemas"];

export type Chat = Schemas["Chat"];
export type Message = Schemas["Message"];
export type QueuedMessage = Schemas["QueuedMessage"];
export type Sent = Schemas["Sent"];
export type Model = Schemas["Model"];
export type JournalEntry = Schemas["Entry"];
export type Problem = Schemas["Problem"];
export type FailureDetail = Schemas["FailureDetail"];
export type Status = Schemas["Status"];
export type Busy = Schemas["Busy"];
export type Part = Message["content"][number];
export type Fragment = Schemas["MessagePartEvent"]["data"];
export type Content = Schemas["SendMessage"]["content"];
export type CreateChat = Schemas["CreateChat"];
export type ChangeChat = Schemas["ChangeChat"];
export type SendMessage = Schemas["SendMessage"];

export type Tool = Schemas["Tool"];
export type ToolResult = Schemas["GivenResult"];
export type Explanation = Schemas["Explanation"];

export type ChatEvent = Schemas["ChatEvent"];
export type ListEvent = Schemas["ListEvent"];

/** Return the text of all text parts, joined. */
export function textOf(content: readonly (Part | Fragment)[]): string {
  return content.map((part) => (part.type === "text" ? part.text : "")).join("");
}
