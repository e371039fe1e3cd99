// Runs the AI SDK's provider of OpenAI, which asks for responses, and prints what it shows as JSON.
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";

const [, , baseURL, apiKey] = process.argv;
// This client joins all texts, so it must not be sent what may become void.
const headers = { "X-Chatd-Voids": "buffer" };
const model = createOpenAI({ baseURL, apiKey, headers })("one");
const tools = {
  weather: tool({
    inputSchema: jsonSchema({ type: "object", properties: { city: { type: "string" } } }),
    execute: async () => "sunny",
  }),
};

const streamed = streamText({ model, prompt: "[[again]]" });
let text = "";
for await (const piece of streamed.textStream) text += piece;

const answered = await generateText({
  model,
  prompt: "[[tool]]",
  tools,
  stopWhen: stepCountIs(3),
});

console.log(JSON.stringify({ text, answered: answered.text, steps: answered.steps.length }));
