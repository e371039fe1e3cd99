/** Server-sent events out of bytes, by the rules of the WHATWG's HTML standard (9.2.6). */

export interface ServerSentEvent {
  event: string;
  data: string;
  /** Its own; undefined when it brought none. */
  id?: string;
}

const LINE_END = /\r\n|\n|\r/;

/** Give it bytes as they come, however they are cut; what is not finished is not an event. */
export class Parser {
  #decoder = new TextDecoder();
  #afterCr = false;
  #line: string[] = [];
  #event = "";
  #data: string[] = [];
  #id: string | undefined;

  /** The events that `chunk` completes. */
  *feed(chunk: Uint8Array): Generator<ServerSentEvent> {
    let text = this.#decoder.decode(chunk, { stream: true });
    if (text === "") return;
    const cut = this.#afterCr && text.startsWith("\n");
    this.#afterCr = text.endsWith("\r");
    if (cut) text = text.slice(1);
    const [first = "", ...others] = text.split(LINE_END);
    this.#line.push(first);
    for (const other of others) {
      const told = this.#take(this.#line.join(""));
      this.#line = [other];
      if (told !== undefined) yield told;
    }
  }

  #take(line: string): ServerSentEvent | undefined {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon); // a comment has no name
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (name === "event") this.#event = value;
    else if (name === "data") this.#data.push(value);
    else if (name === "id" && !value.includes("\0")) this.#id = value;
    return undefined;
  }

  #dispatch(): ServerSentEvent | undefined {
    const told = {
      event: this.#event || "message",
      data: this.#data.join("\n"),
      ...(this.#id === undefined ? {} : { id: this.#id }),
    };
    const said = this.#data.length > 0;
    this.#event = "";
    this.#data = [];
    this.#id = undefined;
    return said ? told : undefined;
  }
}
