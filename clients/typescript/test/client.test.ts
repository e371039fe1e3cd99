import assert from "node:assert/strict";
import { test } from "node:test";

import { ChatdHTTPError, Client, UnexpectedResponse, ConnectFailed, type ChatEvent } from "../src/index.js";
import { json, problem, sendEvents, withServer } from "./server.js";

const PART = { index: 0, type: "text", text: "x" };

async function collect(events: AsyncIterable<ChatEvent>, limit: number): Promise<ChatEvent[]> {
  const received: ChatEvent[] = [];
  for await (const event of events) {
    received.push(event);
    if (received.length === limit) break;
  }
  return received;
}

test("a request whose response was lost is retried with the same key", async () => {
  await withServer(
    (response, _, count) => {
      if (count === 0) response.destroy();
      else if (count === 1) problem(response, 503, "database_unavailable");
      else if (count === 2) problem(response, 429, "too_many_requests", { "retry-after": "0" });
      else json(response, 201, { id: "c" });
    },
    async (url, requests) => {
      assert.equal((await new Client(url).chats.create("hello", { title: "t" })).id, "c");
      assert.equal(requests.length, 4);
      const keys = new Set(requests.map(({ headers }) => headers["idempotency-key"]));
      assert.equal(keys.size, 1);
      assert.match(String([...keys][0]), /^[\x21-\x7e]{16,255}$/);
      assert.deepEqual(
        requests.map(({ body }) => body),
        Array(4).fill('{"content":"hello","title":"t"}'),
      );
    },
  );
});

test("a rejection has status, code and detail, and is not retried", async () => {
  await withServer(
    (response) => problem(response, 429, "queue_full"),
    async (url, requests) => {
      const sending = new Client(url).messages.send("c", "hello", { idempotencyKey: "mine" });
      await assert.rejects(sending, (error) => {
        assert(error instanceof ChatdHTTPError);
        assert.deepEqual([error.status, error.code, error.detail], [429, "queue_full", "queue_full."]);
        return true;
      });
      assert.equal(requests.length, 1);
      assert.equal(requests[0]?.headers["idempotency-key"], "mine");
    },
  );
});

test("calls are approved and denied, and a refusal has the decisions that stand", async () => {
  const decisions = [{ tool_call_id: "t", decision: "deny", reason: "too much" }];
  await withServer(
    (response, _, count) => {
      if (count < 3) json(response, 200, { id: "c" });
      else json(response, 409, { status: 409, code: "already_answered", detail: "It was.", errors: [], decisions });
    },
    async (url, requests) => {
      const client = new Client(url);
      await client.approve("c", "t", { args: { note: "half" }, remember: "chat", idempotencyKey: "mine" });
      await client.deny("c", "t", { reason: "too much" });
      await client.answerActions("c", [{ tool_call_id: "t", input: "accept", content: { answer: 1 } }]);
      assert.deepEqual(
        requests.map(({ url, body }) => [url, JSON.parse(body).answers]),
        [
          [{ tool_call_id: "t", decision: "allow", args: { note: "half" }, remember: "chat" }],
          [{ tool_call_id: "t", decision: "deny", reason: "too much" }],
          [{ tool_call_id: "t", input: "accept", content: { answer: 1 } }],
        ].map((answers) => ["/api/v1/chats/c/actions", answers]),
      );
      assert.equal(requests[0]?.headers["idempotency-key"], "mine");
      await assert.rejects(client.approve("c", "t"), (error) => {
        assert(error instanceof ChatdHTTPError);
        assert.deepEqual([error.code, error.decisions], ["already_answered", decisions]);
        return true;
      });
    },
  );
});

test("a stream waits for a limit to pass", async () => {
  await withServer(
    (response, _, count) => {
      if (count === 0) problem(response, 429, "too_many_streams");
      else if (count === 1) problem(response, 429, "too_many_streams", { "retry-after": "0" });
      else sendEvents(response, ["deleted", { id: "c" }, "9.1.0"]);
    },
    async (url, requests) => {
      const events = await collect(new Client(url).follow("c"), 1);
      assert.deepEqual(events.map(({ event }) => event), ["deleted"]);
      assert.equal(requests.length, 3);
    },
  );
});

test("a delete whose response was lost succeeds on retry", async () => {
  await withServer(
    (response, _, count) => (count === 0 ? response.destroy() : problem(response, 404, "chat_not_found")),
    async (url) => {
      await new Client(url).chats.delete("c");
      await assert.rejects(new Client(url).chats.delete("c"), { status: 404 });
    },
  );
});

test("a file is fetched as bytes with their media type, and again after a cut", async () => {
  const bytes = Buffer.from([0x89, 0x50, 0, 0xff]);
  await withServer(
    (response, _, count) => {
      if (count === 0) return void response.destroy();
      response.writeHead(200, { "content-type": "image/png" });
      response.end(bytes);
    },
    async (url, requests) => {
      const file = await new Client(url).messages.file("c", "f");
      assert.deepEqual(Buffer.from(await file.arrayBuffer()), bytes);
      assert.equal(file.type, "image/png");
      assert.equal(requests[1]?.url, "/api/v1/chats/c/files/f");
    },
  );
});

test("the retry timeout ends retries, and other servers are recognised", async () => {
  const away = new Client("http://127.0.0.1:9", { retryTimeoutSeconds: 0.3 });
  await assert.rejects(away.chats.get("c"), ConnectFailed);
  await withServer(
    (response) => response.end("<html>"),
    async (url) => assert.rejects(new Client(url).chats.get("c"), UnexpectedResponse),
  );
});

test("a response that takes too long is requested again; an abort is final", async () => {
  await withServer(
    (response, _, count) => count > 0 && json(response, 200, { id: "c" }),
    async (url, requests) => {
      const client = new Client(url, { timeoutSeconds: 0.2 });
      assert.equal((await client.chats.get("c")).id, "c");
      assert.equal(requests.length, 2);
      const aborted = AbortSignal.abort(new Error("enough"));
      await assert.rejects(client.chats.get("c", { signal: aborted }), /enough/);
    },
  );
});

test("pages are fetched one after the other", async () => {
  await withServer(
    (response, { url }) =>
      json(response, 200, url.includes("cursor=next") ? page(3) : page(1, 2, "next")),
    async (url, requests) => {
      const ids = [];
      const client = new Client(url, { token: async () => "T", owner: "zoë 文" });
      for await (const chat of client.chats.list({ labels: ["a:b", "c"] })) {
        ids.push(chat.id);
      }
      assert.deepEqual(ids, [1, 2, 3]);
      assert.equal(requests[0]?.url, "/api/v1/chats?label=a%3Ab&label=c&limit=50");
      assert.equal(requests[0]?.headers.authorization, "Bearer T");
      const owner = String(requests[0]?.headers["x-chatd-owner"]);
      assert.equal(Buffer.from(owner, "latin1").toString(), "zoë 文");
    },
  );
});

test("children are listed by their parent", async () => {
  await withServer(
    (response) => json(response, 200, page(1)),
    async (url, requests) => {
      const ids = [];
      for await (const chat of new Client(url).chats.children("c&1", { pageSize: 7 })) ids.push(chat.id);
      assert.deepEqual(ids, [1]);
      assert.equal(requests[0]?.url, "/api/v1/chats?parent=c%261&archived=any&limit=7");
    },
  );
});

test("a search yields chats with what was found in them", async () => {
  await withServer(
    (response) =>
      json(response, 200, { ...(page(1, 2) as object), matches: { 1: { message_id: 7 } } }),
    async (url, requests) => {
      const found = [];
      for await (const each of new Client(url).chats.search("sky sea", { labels: ["a"] })) found.push(each);
      assert.deepEqual(found, [{ chat: { id: 1 }, match: { message_id: 7 } }]);
      assert.equal(requests[0]?.url, "/api/v1/chats?q=sky+sea&in=messages&label=a&limit=50");
    },
  );
});

function page(...ids: (number | string)[]): unknown {
  const next = ids.at(-1) === "next" ? "next" : null;
  const items = ids.filter((id) => id !== "next").map((id) => ({ id }));
  return { items, next_cursor: next };
}

test("a stream resumes after its last complete event, and yields nothing twice", async () => {
  await withServer(
    (response, { headers }, count) => {
      if (count === 0) {
        sendEvents(response, ["snapshot", { parts: [] }, "1.0.0"], ["message_part", PART, "1.1.1"]);
        response.write('event: message_part\ndata: {"cut": tr');
        setTimeout(() => response.destroy(), 20);
      } else if (count === 1) {
        problem(response, 503, "database_unavailable", { "retry-after": "0" });
      } else if (count === 2) {
        assert.equal(headers["last-event-id"], "1.1.1");
        sendEvents(response, ["message_part", PART, "1.1.1"], ["message_part", PART, "1.1.2"]);
        sendEvents(response, ["draining", {}]);
        response.end();
      } else {
        assert.equal(headers["last-event-id"], "1.1.2");
        sendEvents(response, ["reset", { reason: "old" }], ["snapshot", { parts: [] }, "1.0.0"]);
        sendEvents(response, ["deleted", { id: "c" }]);
      }
    },
    async (url) => {
      const reconnects: unknown[] = [];
      const stream = new Client(url).follow("c", { onReconnect: (reason) => reconnects.push(reason?.name) });
      const received = await collect(stream, Infinity);
      assert.deepEqual(
        received.map(({ event, id }) => `${event} ${id ?? "-"}`),
        [
          "snapshot 1.0.0",
          "message_part 1.1.1",
          "message_part 1.1.2",
          "reset -",
          "snapshot 1.0.0",
          "deleted -",
        ],
      );
      assert.deepEqual(reconnects, ["ConnectFailed", "ChatdHTTPError", undefined]);
      assert.equal(stream.cursor, "1.0.0");
    },
  );
});

test("a silent stream is reconnected; an abort and a rejection end it", async () => {
  await withServer(
    (response, { headers }, count) => {
      if (count === 0) sendEvents(response, ["snapshot", { parts: [] }, "1.0.0"]);
      else if (count === 1) sendEvents(response, ["message_part", PART, "1.1.1"]);
      else problem(response, 404, "chat_not_found");
      if (count === 1) assert.equal(headers["last-event-id"], "1.0.0");
    },
    async (url) => {
      const client = new Client(url, { readTimeoutSeconds: 0.2 });
      const received = await collect(client.follow("c"), 2);
      assert.deepEqual(received.map(({ id }) => id), ["1.0.0", "1.1.1"]);
      await assert.rejects(collect(client.follow("c"), 1), { code: "chat_not_found" });
    },
  );
  await withServer(
    (response) => sendEvents(response, ["snapshot", { parts: [] }, "1.0.0"]),
    async (url) => {
      const hanging = new AbortController();
      const events = new Client(url).follow("c", { signal: hanging.signal });
      await assert.rejects(async () => {
        for await (const _ of events) hanging.abort(new Error("enough"));
      }, /enough/);
    },
  );
});

test("the list stream yields newer versions only", async () => {
  const chat = (id: string, version: number) => ({ id, version });
  await withServer(
    (response, _, count) => {
      if (count > 0) return;
      sendEvents(response, ["snapshot", { items: [chat("a", 3)], next_cursor: null }, "1"]);
      sendEvents(response, ["chat", chat("a", 3), "2"], ["chat", chat("a", 4), "3"]);
      sendEvents(response, ["chat", chat("b", 1), "4"], ["chat", chat("a", 2), "5"]);
      sendEvents(response, ["deleted", { id: "a" }, "6"]);
      // An id marks how far the list was read, so two events may have the same.
      sendEvents(response, ["chat", chat("b", 2), "6"], ["deleted", { id: "a" }, "7"]);
      sendEvents(response, ["chat", chat("a", 9), "8"], ["chat", chat("c", 1), "9"]);
    },
    async (url) => {
      const received = [];
      for await (const event of new Client(url).followAll()) {
        received.push(`${event.event} ${event.id}`);
        if (event.id === "9") break;
      }
      assert.deepEqual(received, ["snapshot 1", "chat 3", "chat 4", "deleted 6", "chat 6", "chat 9"]);
    },
  );
});

test("ids stay in their place of the path", async () => {
  await withServer(
    (response) => json(response, 200, { items: [] }),
    async (url, requests) => {
      const client = new Client(url);
      for (const id of ["../../../statusz", "..%2f..%2fstatusz", "a/b", "a?b=c", "a#b", "%", "\\..\\"]) {
        requests.length = 0;
        await client.chats.get(id);
        await client.chats.explain(id);
        await client.queue.list(id);
        await client.queue.remove(id, 1);
        const places = requests.map((request) => request.url.split("/"));
        assert.deepEqual(
          places.map((place) => place.length),
          [5, 6, 6, 7],
        );
        for (const place of places) assert.equal(decodeURIComponent(place[4] ?? ""), id);
      }
      requests.length = 0;
      for (const id of ["", ".", ".."]) assert.throws(() => client.chats.delete(id), TypeError);
      assert.equal(requests.length, 0);
    },
  );
});

for (const [code, done] of [
  ["queued_message_not_found", true],
  ["chat_not_found", false],
  ["not_found", false],
] as const) {
  test(`a repeated remove answered 404 ${code} is ${done ? "done" : "an error"}`, async () => {
    await withServer(
      (response, _, count) => (count === 0 ? response.destroy() : problem(response, 404, code)),
      async (url) => {
        const removing = new Client(url).queue.remove("c", 1);
        if (done) await removing;
        else await assert.rejects(removing, (error) => error instanceof ChatdHTTPError && error.code === code);
      },
    );
  });
}

test("operators see and change the fleet", async () => {
  await withServer(
    (response, request) => {
      if (request.url?.startsWith("/api/v1/fleet/chats?")) json(response, 200, { items: [{ id: "c" }] });
      else if (request.url?.includes("/workers/")) response.writeHead(204).end();
      else json(response, 200, { id: "c" });
    },
    async (url, requests) => {
      const { fleet } = new Client(url);
      assert.deepEqual(await fleet.chats({ status: "error", ownerId: "a&b" }), [{ id: "c" }]);
      await fleet.interrupt("c");
      await fleet.drain("w");
      await fleet.resume("w");
      assert.deepEqual(
        requests.map(({ method, url: path }) => `${method} ${path}`),
        [
          "GET /api/v1/fleet/chats?limit=50&status=error&owner_id=a%26b",
          "POST /api/v1/fleet/chats/c/interrupt",
          "PUT /api/v1/fleet/workers/w/drain",
          "DELETE /api/v1/fleet/workers/w/drain",
        ],
      );
    },
  );
});
