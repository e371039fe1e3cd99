import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface Asked {
  method: string;
  url: string;
  headers: IncomingMessage["headers"];
  body: string;
}

/** What a server does with the n-th request, from 0. */
export type Act = (answer: ServerResponse, asked: Asked, count: number) => void;

/** A server that is told what to do; `asked` is what it was asked so far. */
export async function serving(
  act: Act,
  use: (url: string, asked: Asked[]) => Promise<void>,
): Promise<void> {
  const asked: Asked[] = [];
  const server = createServer((request, answer) => {
    let body = "";
    request.on("data", (chunk) => (body += chunk));
    request.on("end", () => {
      const { method = "", url = "", headers } = request;
      asked.push({ method, url, headers, body });
      act(answer, asked.at(-1) as Asked, asked.length - 1);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    await use(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked);
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

export function json(answer: ServerResponse, status: number, value: unknown, more = {}): void {
  answer.writeHead(status, { "content-type": "application/json", ...more });
  answer.end(JSON.stringify(value));
}

export function problem(answer: ServerResponse, status: number, code: string, more = {}): void {
  json(answer, status, { status, code, detail: `${code}.`, errors: [] }, more);
}

/** Begin a stream with these events. */
export function say(answer: ServerResponse, ...events: [string, unknown, string?][]): void {
  if (!answer.headersSent) answer.writeHead(200, { "content-type": "text/event-stream" });
  for (const [event, data, id] of events) {
    const own = id === undefined ? "" : `id: ${id}\n`;
    answer.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n${own}\n`);
  }
}
