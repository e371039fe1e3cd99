/**
 * Runs tools for a chat, while a test acts on it: `node tools.js URL CHAT_ID LABEL`. It prints each start and
 * each abort of a function to standard output, and at the end the chat.
 */
import { Client, ClientTools, type ToolCall } from "../src/index.js";

const [url = "", chatId = "", label = ""] = process.argv.slice(2);
let running = 0;

const tools = new ClientTools({ maxParallel: 2, maxResultBytes: 50 })
  .add({
    name: "echo",
    run: async ({ args }) => {
      running += 1;
      await new Promise((resolve) => setTimeout(resolve, 5));
      print({ event: "echo", running });
      running -= 1;
      return args;
    },
  })
  .add({ name: "named", run: () => label })
  .add({ name: "nothing", run: () => undefined })
  .add({
    name: "fails",
    run: () => {
      throw new RangeError("no such town");
    },
  })
  .add({ name: "large", run: () => "x".repeat(100) })
  .add({ name: "no_json", run: () => 1n })
  .add({ name: "slow", timeoutSeconds: 0.05, run: forever })
  .add({ name: "hangs", run: forever });

const chat = await tools.run(new Client(url), chatId);
print({ event: "end", status: chat?.status ?? "deleted", tools: tools.declarations.length });

function forever({ key, name, signal }: ToolCall): Promise<never> {
  print({ event: "start", name, key });
  signal.addEventListener("abort", () => print({ event: "abort", name }), { once: true });
  return new Promise(() => setTimeout(() => {}, 60_000));
}

function print(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}
