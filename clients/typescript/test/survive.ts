/**
 * Follows the answer to "go" and prints each event to standard output, while the test kills the server
 * repeatedly. At the end it prints the text of the events, and what is stored.
 */
import { Client, textOf, type Message } from "../src/index.js";

const client = new Client(process.argv[2] as string);
const chat = await client.chats.create("go");
let text = "";
let preview = "";
let snapshots = 0;
let reconnects = 0;

for await (const event of client.follow(chat.id, { onReconnect: () => (reconnects += 1) })) {
  if (event.event === "snapshot") {
    snapshots += 1;
    preview = textOf(event.data.parts);
  } else if (event.event === "message_part") preview += textOf([event.data]);
  else if (event.event === "preview_reset") preview = "";
  else if (event.event === "message" && event.data.role === "assistant") {
    text = textOf(event.data.content);
    if (!text.startsWith(preview)) throw new Error(`preview ${preview}, said ${text}`);
  }
  print({ event: event.event, id: event.id, preview });
  if (event.event === "status" && event.data.status !== "running" && text !== "") break;
}

const stored: Message[] = [];
for await (const message of client.messages.list(chat.id)) stored.push(message);
const transitions: string[] = [];
for await (const entry of client.chats.events(chat.id)) transitions.push(entry.transition);
print({ event: "end", text, snapshots, reconnects, stored: stored.map(({ content }) => textOf(content)), transitions });

function print(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}
