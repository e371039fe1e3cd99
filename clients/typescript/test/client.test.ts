import assert from "node:assert/strict";
import { test } from "node:test";

import { ChatdHTTPError, Client, NotChatd, Unreachable, type ChatEvent } from "../src/index.js";
import { json, problem, say, serving } from "./server.js";

const PART = { index: 0, type: "text", text: "x" };

async function collect(events: AsyncIterable<ChatEvent>, most: number): Promise<ChatEvent[]> {
  const heard: ChatEvent[] = [];
  for await (const event of events) {
    heard.push(event);
    if (heard.length === most) break;
  }
  return heard;
}

test("a request whose answer was lost is said again, under the same key", async () => {
  await serving(
    (answer, _, count) => {
      if (count === 0) answer.destroy();
      else if (count === 1) problem(answer, 503, "database_unavailable");
      else if (count === 2) problem(answer, 429, "too_many_requests", { "retry-after": "0" });
      else json(answer, 201, { id: "c" });
    },
    async (url, asked) => {
      assert.equal((await new Client(url).chats.create("hello", { title: "t" })).id, "c");
      assert.equal(asked.length, 4);
      const keys = new Set(asked.map(({ headers }) => headers["idempotency-key"]));
      assert.equal(keys.size, 1);
      assert.match(String([...keys][0]), /^[\x21-\x7e]{16,255}$/);
      assert.deepEqual(
        asked.map(({ body }) => body),
        Array(4).fill('{"content":"hello","title":"t"}'),
      );
    },
  );
});

test("a refusal is an error with status, code and detail, and is not said again", async () => {
  await serving(
    (answer) => problem(answer, 429, "queue_full"),
    async (url, asked) => {
      const sending = new Client(url).messages.send("c", "hello", { idempotencyKey: "mine" });
      await assert.rejects(sending, (error) => {
        assert(error instanceof ChatdHTTPError);
        assert.deepEqual([error.status, error.code, error.detail], [429, "queue_full", "queue_full."]);
        return true;
      });
      assert.equal(asked.length, 1);
      assert.equal(asked[0]?.headers["idempotency-key"], "mine");
    },
  );
});

test("a chat that the lost try deleted is deleted", async () => {
  await serving(
    (answer, _, count) => (count === 0 ? answer.destroy() : problem(answer, 404, "chat_not_found")),
    async (url) => {
      await new Client(url).chats.delete("c");
      await assert.rejects(new Client(url).chats.delete("c"), { status: 404 });
    },
  );
});

test("patience runs out, and what is not a chatd is named", async () => {
  const away = new Client("http://127.0.0.1:9", { patienceSeconds: 0.3 });
  await assert.rejects(away.chats.get("c"), Unreachable);
  await serving(
    (answer) => answer.end("<html>"),
    async (url) => assert.rejects(new Client(url).chats.get("c"), NotChatd),
  );
});

test("an answer that takes too long is asked for again; an abort is final", async () => {
  await serving(
    (answer, _, count) => count > 0 && json(answer, 200, { id: "c" }),
    async (url, asked) => {
      const client = new Client(url, { timeoutSeconds: 0.2 });
      assert.equal((await client.chats.get("c")).id, "c");
      assert.equal(asked.length, 2);
      const aborted = AbortSignal.abort(new Error("enough"));
      await assert.rejects(client.chats.get("c", { signal: aborted }), /enough/);
    },
  );
});

test("pages are asked for one after the other", async () => {
  await serving(
    (answer, { url }) =>
      json(answer, 200, url.includes("cursor=next") ? page(3) : page(1, 2, "next")),
    async (url, asked) => {
      const ids = [];
      const client = new Client(url, { token: async () => "T", owner: "zoë 文" });
      for await (const chat of client.chats.list({ labels: ["a:b", "c"] })) {
        ids.push(chat.id);
      }
      assert.deepEqual(ids, [1, 2, 3]);
      assert.equal(asked[0]?.url, "/api/v1/chats?label=a%3Ab&label=c&limit=50");
      assert.equal(asked[0]?.headers.authorization, "Bearer T");
      const owner = String(asked[0]?.headers["x-chatd-owner"]);
      assert.equal(Buffer.from(owner, "latin1").toString(), "zoë 文");
    },
  );
});

function page(...ids: (number | string)[]): unknown {
  const next = ids.at(-1) === "next" ? "next" : null;
  const items = ids.filter((id) => id !== "next").map((id) => ({ id }));
  return { items, next_cursor: next };
}

test("a stream goes on from its last whole event, and tells nothing twice", async () => {
  await serving(
    (answer, { headers }, count) => {
      if (count === 0) {
        say(answer, ["snapshot", { parts: [] }, "1.0.0"], ["message_part", PART, "1.1.1"]);
        answer.write('event: message_part\ndata: {"cut": tr');
        setTimeout(() => answer.destroy(), 20);
      } else if (count === 1) {
        problem(answer, 503, "database_unavailable", { "retry-after": "0" });
      } else if (count === 2) {
        assert.equal(headers["last-event-id"], "1.1.1");
        say(answer, ["message_part", PART, "1.1.1"], ["message_part", PART, "1.1.2"]);
        say(answer, ["draining", {}]);
        answer.end();
      } else {
        assert.equal(headers["last-event-id"], "1.1.2");
        say(answer, ["reset", { reason: "old" }], ["snapshot", { parts: [] }, "1.0.0"]);
        say(answer, ["deleted", { id: "c" }]);
      }
    },
    async (url) => {
      const gaps: unknown[] = [];
      const following = new Client(url).follow("c", { onGap: (why) => gaps.push(why?.name) });
      const heard = await collect(following, Infinity);
      assert.deepEqual(
        heard.map(({ event, id }) => `${event} ${id ?? "-"}`),
        [
          "snapshot 1.0.0",
          "message_part 1.1.1",
          "message_part 1.1.2",
          "reset -",
          "snapshot 1.0.0",
          "deleted -",
        ],
      );
      assert.deepEqual(gaps, ["Unreachable", "ChatdHTTPError", undefined]);
      assert.equal(following.cursor, "1.0.0");
    },
  );
});

test("a stream that says nothing is cut and begun again; an abort and a refusal end it", async () => {
  await serving(
    (answer, { headers }, count) => {
      if (count === 0) say(answer, ["snapshot", { parts: [] }, "1.0.0"]);
      else if (count === 1) say(answer, ["message_part", PART, "1.1.1"]);
      else problem(answer, 404, "chat_not_found");
      if (count === 1) assert.equal(headers["last-event-id"], "1.0.0");
    },
    async (url) => {
      const client = new Client(url, { silenceSeconds: 0.2 });
      const heard = await collect(client.follow("c"), 2);
      assert.deepEqual(heard.map(({ id }) => id), ["1.0.0", "1.1.1"]);
      await assert.rejects(collect(client.follow("c"), 1), { code: "chat_not_found" });
    },
  );
  await serving(
    (answer) => say(answer, ["snapshot", { parts: [] }, "1.0.0"]),
    async (url) => {
      const hanging = new AbortController();
      const events = new Client(url).follow("c", { signal: hanging.signal });
      await assert.rejects(async () => {
        for await (const _ of events) hanging.abort(new Error("enough"));
      }, /enough/);
    },
  );
});

test("of all chats, only what is newer is told", async () => {
  const chat = (id: string, version: number) => ({ id, version });
  await serving(
    (answer, _, count) => {
      if (count > 0) return;
      say(answer, ["snapshot", { items: [chat("a", 3)], next_cursor: null }, "1"]);
      say(answer, ["chat", chat("a", 3), "2"], ["chat", chat("a", 4), "3"]);
      say(answer, ["chat", chat("b", 1), "4"], ["chat", chat("a", 2), "5"]);
      say(answer, ["deleted", { id: "a" }, "6"]);
      // An id marks how far the list was read, so two events may have the same.
      say(answer, ["chat", chat("b", 2), "6"], ["deleted", { id: "a" }, "7"]);
      say(answer, ["chat", chat("a", 9), "8"], ["chat", chat("c", 1), "9"]);
    },
    async (url) => {
      const heard = [];
      for await (const event of new Client(url).followAll()) {
        heard.push(`${event.event} ${event.id}`);
        if (event.id === "9") break;
      }
      assert.deepEqual(heard, ["snapshot 1", "chat 3", "chat 4", "deleted 6", "chat 6", "chat 9"]);
    },
  );
});
