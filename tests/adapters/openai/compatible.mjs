// Chat Completions with the AI SDK's provider for it: node compatible.mjs BASE_URL KEY
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { jsonSchema, stepCountIs, streamText, tool } from "ai";

const [, , baseURL, apiKey] = process.argv;
const provider = createOpenAICompatible({ name: "chatd", baseURL, apiKey, includeUsage: true });
const answers = {};

const plain = streamText({ model: provider("one"), prompt: "hi" });
answers.plain = [
  await plain.text,
  await plain.reasoningText,
  (await plain.totalUsage).totalTokens,
  await plain.finishReason,
];

const cities = [];
const called = streamText({
  model: provider("one"),
  prompt: "How is it? [[tool]]",
  stopWhen: stepCountIs(3),
  tools: {
    weather: tool({
      inputSchema: jsonSchema({ type: "object", properties: { city: { type: "string" } } }),
      execute: async ({ city }) => (cities.push(city), "sunny"),
    }),
  },
});
answers.tool = [await called.text, cities];

const errors = [];
const failed = streamText({
  model: provider("one"),
  prompt: "[[half]]",
  maxRetries: 0,
  onError: ({ error }) => errors.push(String(error.message ?? error)),
});
await failed.consumeStream();
answers.failed = errors.length;
console.log(JSON.stringify(answers));
