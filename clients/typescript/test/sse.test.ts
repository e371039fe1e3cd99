import assert from "node:assert/strict";
import { test } from "node:test";

import { Parser, type ServerSentEvent } from "../src/sse.js";

const ENCODER = new TextEncoder();

function read(...chunks: Uint8Array[]): ServerSentEvent[] {
  const parser = new Parser();
  return chunks.flatMap((chunk) => [...parser.feed(chunk)]);
}

/** The standard's algorithm, applied to a complete stream. */
function referenceParse(bytes: Uint8Array): ServerSentEvent[] {
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
    const [, name, rest = ""] = /^([^:]*):?(.*)$/s.exec(line) ?? [];
    const value = rest.startsWith(" ") ? rest.slice(1) : rest;
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

/** Return a generator of numbers that are the same in each run (mulberry32). */
function randomNumbers(seed: number): (below: number) => number {
  return (below) => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

test("chunk boundaries do not change the events", () => {
  const random = randomNumbers(7);
  const pick = (from: readonly string[]) => from[random(from.length)] as string;
  for (let round = 0; round < 500; round += 1) {
    let text = pick(["", "\ufeff"]);
    for (let count = random(14); count > 0; count -= 1) text += pick(LINES) + pick(ENDS);
    const bytes = ENCODER.encode(text + pick(TAILS));
    const expected = referenceParse(bytes);
    const chunks: Uint8Array[] = [];
    for (let at = 0; at < bytes.length; ) {
      const next = at + 1 + random(6);
      chunks.push(bytes.slice(at, next));
      at = next;
    }
    assert.deepEqual(read(bytes), expected, JSON.stringify(text));
    assert.deepEqual(read(...chunks), expected, JSON.stringify(text));
    assert.deepEqual(read(...Array.from(bytes, (byte) => Uint8Array.of(byte))), expected);
  }
});

test("an event is yielded as soon as it is complete, with any line end", () => {
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

test("a character that is split between chunks is joined", () => {
  const bytes = ENCODER.encode("data: 🎈\n\n");
  assert.deepEqual(read(bytes.slice(0, 8), bytes.slice(8)), [{ event: "message", data: "🎈" }]);
});

test("an incomplete event is not yielded", () => {
  assert.deepEqual(read(ENCODER.encode("data: half")), []);
  assert.deepEqual(read(ENCODER.encode("data: half\n")), []);
});
