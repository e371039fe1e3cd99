import assert from "node:assert/strict";
import { test } from "node:test";

import { Parser, type ServerSentEvent } from "../src/sse.js";

const ENCODER = new TextEncoder();

function read(...chunks: Uint8Array[]): ServerSentEvent[] {
  const parser = new Parser();
  return chunks.flatMap((chunk) => [...parser.feed(chunk)]);
}

/** The standard's algorithm on a whole stream, word by word. */
function byTheBook(bytes: Uint8Array): ServerSentEvent[] {
  const lines = new TextDecoder().decode(bytes).split(/\r\n|\n|\r/).slice(0, -1);
  const events: ServerSentEvent[] = [];
  let event = "";
  let data = "";
  let id: string | undefined;
  for (const line of lines) {
    if (line === "") {
      const own = id === undefined ? {} : { id };
      if (data !== "") events.push({ event: event || "message", data: data.slice(0, -1), ...own });
      [event, data, id] = ["", "", undefined];
      continue;
    }
    if (line.startsWith(":")) continue;
    const [, name, given = ""] = /^([^:]*):?(.*)$/s.exec(line) ?? [];
    const value = given.startsWith(" ") ? given.slice(1) : given;
    if (name === "event") event = value;
    if (name === "data") data += `${value}\n`;
    if (name === "id" && !value.includes("\0")) id = value;
  }
  return events;
}

const LINES = [
  "data: one", "data:two", "data:  three", "data", "data:", "event: x", "event", "id: 1.2.3",
  "id: 4\0", "id", ": a comment", ":", "retry: 10", "unknown: field", "dätä: ü", "data: ✓ 🎈", "", "",
]; // prettier-ignore
const ENDS = ["\n", "\r", "\r\n"];
const TAILS = ["", "data: cut", "data: cut\n", "\n"];

/** Numbers that are the same in each run (mulberry32). */
function dice(seed: number): (below: number) => number {
  return (below) => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

test("any cutting gives what the standard says", () => {
  const throwDice = dice(7);
  const pick = (from: readonly string[]) => from[throwDice(from.length)] as string;
  for (let round = 0; round < 500; round += 1) {
    let text = pick(["", "\ufeff"]);
    for (let count = throwDice(14); count > 0; count -= 1) text += pick(LINES) + pick(ENDS);
    const bytes = ENCODER.encode(text + pick(TAILS));
    const expected = byTheBook(bytes);
    const chunks: Uint8Array[] = [];
    for (let at = 0; at < bytes.length; ) {
      const next = at + 1 + throwDice(6);
      chunks.push(bytes.slice(at, next));
      at = next;
    }
    assert.deepEqual(read(bytes), expected, JSON.stringify(text));
    assert.deepEqual(read(...chunks), expected, JSON.stringify(text));
    assert.deepEqual(read(...Array.from(bytes, (byte) => Uint8Array.of(byte))), expected);
  }
});

test("an event is told as soon as it is whole, whatever ends its lines", () => {
  for (const end of ENDS) {
    const parser = new Parser();
    const lines = ENCODER.encode(["event: status", "data: {}", "id: 7", ""].join(end));
    assert.deepEqual([...parser.feed(lines)], []);
    assert.deepEqual(
      [...parser.feed(ENCODER.encode(end))],
      [{ event: "status", data: "{}", id: "7" }],
    );
  }
});

test("a character that is cut in the middle is put together", () => {
  const bytes = ENCODER.encode("data: 🎈\n\n");
  assert.deepEqual(read(bytes.slice(0, 8), bytes.slice(8)), [{ event: "message", data: "🎈" }]);
});

test("what is not finished is not an event", () => {
  assert.deepEqual(read(ENCODER.encode("data: half")), []);
  assert.deepEqual(read(ENCODER.encode("data: half\n")), []);
});
