import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface ReceivedRequest {
  method: string;
  url: string;
  headers: IncomingMessage["headers"];
  body: string;
}

/** Handles the n-th request, from 0. */
export type Handler = (response: ServerResponse, requests: ReceivedRequest, count: number) => void;

/** Run `use` with a server that answers by `handle`; `requests` are those it has received. */
export async function withServer(
  handle: Handler,
  use: (url: string, requests: ReceivedRequest[]) => Promise<void>,
): Promise<void> {
  const requests: ReceivedRequest[] = [];
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk) => (body += chunk));
    request.on("end", () => {
      const { method = "", url = "", headers } = request;
      requests.push({ method, url, headers, body });
      handle(response, requests.at(-1) as ReceivedRequest, requests.length - 1);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    await use(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests);
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

export function json(response: ServerResponse, status: number, value: unknown, more = {}): void {
  response.writeHead(status, { "content-type": "application/json", ...more });
  response.end(JSON.stringify(value));
}

export function problem(response: ServerResponse, status: number, code: string, more = {}): void {
  json(response, status, { status, code, detail: `${code}.`, errors: [] }, more);
}

/** Send these events, on a stream that begins with the first. */
export function sendEvents(response: ServerResponse, ...events: [string, unknown, string?][]): void {
  if (!response.headersSent) response.writeHead(200, { "content-type": "text/event-stream" });
  for (const [event, data, id] of events) {
    const own = id === undefined ? "" : `id: ${id}\n`;
    response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n${own}\n`);
  }
}
