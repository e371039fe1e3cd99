// Runs a client of OpenAI for Node against a daemon, and prints what it shows as one line of JSON.
import { createRequire } from "node:module";

const [, , name, baseURL, apiKey] = process.argv;
const OpenAI = createRequire(import.meta.url)(name);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const model = "one";
const weather = {
  type: "function",
  name: "weather",
  strict: false,
  parameters: { type: "object", properties: { city: { type: "string" } } },
};

async function follow(stream) {
  const types = [];
  for await (const event of stream) types.push(event.type);
  return types;
}

const helper = client.responses.stream({ model, input: "[[again]]" });
const types = await follow(helper);
const final = await helper.finalResponse();

const resumed = client.responses.stream({ response_id: final.id, starting_after: 4 });
await follow(resumed);

const asked = await client.responses.create({ model, input: "[[tool]]", tools: [weather] });
const call = asked.output.find((item) => item.type === "function_call");
const answered = await client.responses.create({
  model,
  previous_response_id: asked.id,
  input: [{ type: "function_call_output", call_id: call.call_id, output: "sunny" }],
});

let background = await client.responses.create({ model, input: "Hi", background: true });
while (background.status === "queued" || background.status === "in_progress") {
  background = await client.responses.retrieve(background.id);
}

const missing = await client.responses.retrieve("resp_1").catch((error) => error.constructor.name);

console.log(
  JSON.stringify({
    types,
    streamed: final.output_text,
    resumed: (await resumed.finalResponse()).output_text,
    answered: answered.output_text,
    background: background.output_text,
    missing,
  }),
);
