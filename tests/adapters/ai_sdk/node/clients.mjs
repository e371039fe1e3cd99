// Chats of @ai-sdk/react without React, driven by lines of JSON on standard input: {id, op, …}.
// node clients.mjs react7 http://127.0.0.1:8080
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [, , alias, origin] = process.argv;
const require = createRequire(import.meta.url);
const { Chat } = require(alias);
const requireFrom = createRequire(require.resolve(alias));
const ai = requireFrom("ai");
const version = `v${requireFrom("ai/package.json").version.split(".")[0]}`;

const clients = new Map();
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

class Client {
  constructor({ chat, token, messages, automatic, tools = {}, body, cutAfter, at = origin }) {
    this.events = [];
    this.requests = [];
    this.chunks = [];
    this.headers = { Authorization: `Bearer ${token}` };
    this.cutAfter = cutAfter;
    this.chat = new Chat({
      id: chat,
      messages,
      transport: new ai.DefaultChatTransport({
        api: `${at}/ai/${version}/chat`,
        body,
        headers: () => this.headers,
        fetch: (url, options) => this.fetch(url, options),
      }),
      sendAutomaticallyWhen: automatic
        ? (options) => {
            const isComplete =
              ai.lastAssistantMessageIsCompleteWithToolCalls(options) ||
              (ai.lastAssistantMessageIsCompleteWithApprovalResponses?.(options) ?? false);
            this.events.push({ automatic: isComplete });
            return isComplete;
          }
        : undefined,
      onToolCall: ({ toolCall }) => {
        this.events.push({ toolCall: toolCall.toolName, id: toolCall.toolCallId, input: toolCall.input });
        if (!(toolCall.toolName in tools)) return;
        setTimeout(() => this.answer(toolCall.toolName, toolCall.toolCallId, tools[toolCall.toolName]), 0);
      },
      onData: (part) => this.events.push({ data: part.type, value: part.data }),
      onError: (error) => this.events.push({ error: error.message, body: error.responseBody }),
      onFinish: ({ isAbort, isDisconnect, isError, finishReason }) =>
        this.events.push({ finish: { isAbort, isDisconnect, isError, finishReason } }),
    });
  }

  answer(tool, toolCallId, output) {
    const add = this.chat.addToolOutput ?? this.chat.addToolResult;
    return add({ tool, toolCallId, output });
  }

  // Pass a response on, keep its chunks, and cut it after so many events if the test says so.
  async fetch(url, options) {
    const response = await fetch(url, options);
    this.requests.push({ method: options.method ?? "GET", url, body: options.body, status: response.status });
    if (!response.body || !response.ok) return response;
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    let rest = "";
    let passed = 0;
    const take = (controller, text) => {
      rest += text;
      const events = rest.split("\n\n");
      rest = events.pop();
      for (const event of events) {
        const data = event.split("\n").filter((line) => line.startsWith("data: "));
        if (data.length && passed === this.cutAfter) {
          this.cutAfter = undefined;
          reader.cancel();
          controller.error(new TypeError("network error"));
          return false;
        }
        for (const line of data) {
          passed += 1;
          this.chunks.push(line.slice("data: ".length));
        }
        controller.enqueue(new TextEncoder().encode(`${event}\n\n`));
      }
      return true;
    };
    const body = new ReadableStream({
      async pull(controller) {
        try {
          const { done, value } = await reader.read();
          if (done) controller.close();
          else take(controller, decoder.decode(value, { stream: true }));
        } catch (error) {
          controller.error(error);
        }
      },
      cancel: (reason) => reader.cancel(reason),
    });
    return new Response(body, { status: response.status, headers: response.headers });
  }

  state() {
    return {
      status: this.chat.status,
      error: this.chat.error?.message,
      messages: this.chat.messages,
      events: this.events,
      requests: this.requests,
      chunks: this.chunks,
    };
  }
}

const text = (message) => (message?.parts ?? []).map((part) => (part.type === "text" ? part.text : "")).join("");

const operations = {
  version: () => ({ version, package: requireFrom("ai/package.json").version }),
  new: ({ client, ...options }) => void clients.set(client, new Client(options)),
  state: ({ client }) => clients.get(client).state(),
  async send({ client, wait = true, ...message }) {
    const sent = clients.get(client).chat.sendMessage(message);
    if (wait) await sent;
    return clients.get(client).state();
  },
  async regenerate({ client, wait = true, ...options }) {
    const done = clients.get(client).chat.regenerate(options);
    if (wait) await done;
    return clients.get(client).state();
  },
  async resume({ client, wait = true }) {
    const done = clients.get(client).chat.resumeStream();
    if (wait) await done;
    return clients.get(client).state();
  },
  async stop({ client }) {
    await clients.get(client).chat.stop();
    return clients.get(client).state();
  },
  async answer({ client, tool, call, output }) {
    await clients.get(client).answer(tool, call, output);
    return clients.get(client).state();
  },
  async approve({ client, approval, approved, reason }) {
    await clients.get(client).chat.addToolApprovalResponse({ id: approval, approved, reason });
    return clients.get(client).state();
  },
  // Wait until the last message has a text in it, the client a status, or as many chunks.
  async until({ client, contains, status, chunk, seconds = 30 }) {
    const found = clients.get(client);
    const end = Date.now() + seconds * 1000;
    while (
      (contains !== undefined && !text(found.chat.messages.at(-1)).includes(contains)) ||
      (status !== undefined && found.chat.status !== status) ||
      (chunk !== undefined && !found.chunks.some((each) => each.includes(chunk)))
    ) {
      if (Date.now() > end) throw new Error(`not in time: ${JSON.stringify(found.state())}`);
      await pause(3);
    }
    return found.state();
  },
  // The schema of chunks that the package itself applies to a stream.
  async check({ client }) {
    const schema = typeof ai.uiMessageChunkSchema === "function" ? ai.uiMessageChunkSchema() : ai.uiMessageChunkSchema;
    const faults = [];
    for (const chunk of clients.get(client).chunks) {
      if (chunk === "[DONE]") continue;
      const checked = await schema.validate(JSON.parse(chunk));
      if (!checked.success) faults.push({ chunk, error: String(checked.error) });
    }
    return faults;
  },
  async validate({ messages }) {
    await ai.validateUIMessages({ messages });
    return true;
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { id, op, ...options } = JSON.parse(line);
  Promise.resolve()
    .then(() => operations[op](options))
    .then(
      (value) => ({ id, value: value ?? null }),
      (error) => ({ id, error: error.stack ?? String(error) }),
    )
    .then((answer) => process.stdout.write(`${JSON.stringify(answer)}\n`));
}
