// Chat Completions with one version of OpenAI's client for Node: node completions.mjs PACKAGE BASE_URL KEY
// Prints what each scenario gave, as one JSON object.
const [, , name, baseURL, apiKey] = process.argv;
const { default: OpenAI } = await import(name);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const tools = [
  {
    type: "function",
    function: {
      name: "weather",
      parameters: { type: "object", properties: { city: { type: "string" } } },
    },
  },
];
const ask = (content, more = {}) => ({
  model: "one",
  messages: [{ role: "user", content }],
  ...more,
});
const failure = (error) => ({
  error: error.constructor.name,
  status: error.status ?? null,
  code: error.code ?? null,
});

const scenarios = {
  async models() {
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    return ids;
  },
  async whole() {
    const completion = await client.chat.completions.create(ask("hi"));
    return [completion.choices[0].message.content, completion.usage.total_tokens];
  },
  async stream() {
    const stream = client.chat.completions.stream(
      ask("hi", { stream_options: { include_usage: true } }),
    );
    const text = await stream.finalContent();
    return [text, (await stream.totalUsage()).total_tokens];
  },
  async tool() {
    const results = [];
    const runner = client.chat.completions.runTools({
      ...ask("How is it? [[tool]]"),
      stream: true,
      tools: tools.map((tool) => ({
        ...tool,
        function: {
          ...tool.function,
          parse: JSON.parse,
          function: ({ city }) => (results.push(city), "sunny"),
        },
      })),
    });
    return [results, await runner.finalContent()];
  },
  async missing() {
    return client.chat.completions.create({ ...ask("hi"), model: "three" }).then(String, failure);
  },
  async busy() {
    return client.chat.completions.create(ask("[[busy]]", { stream: true })).then(String, failure);
  },
  async half() {
    let text = "";
    try {
      for await (const chunk of await client.chat.completions.create(
        ask("[[half]]", { stream: true }),
      ))
        text += chunk.choices[0].delta.content ?? "";
    } catch (error) {
      return [text, failure(error)];
    }
    return text;
  },
  async left() {
    const stream = await client.chat.completions.create(ask("[[long]]", { stream: true }));
    for await (const chunk of stream) if (chunk.choices[0].delta.content) break;
    return stream.controller.signal.aborted;
  },
};

const answers = {};
for (const [scenario, run] of Object.entries(scenarios)) {
  try {
    answers[scenario] = await run();
  } catch (error) {
    answers[scenario] = String(error.stack ?? error);
  }
}
console.log(JSON.stringify(answers));
