const LINE_END = /\r\n|\n|\r/;
export class Parser {
    #decoder = new TextDecoder();
    #afterCr = false;
    #line = [];
    #event = "";
    #data = [];
    #id;
    *feed(chunk) {
        let text = this.#decoder.decode(chunk, { stream: true });
        if (text === "")
            return;
        const cut = this.#afterCr && text.startsWith("\n");
        this.#afterCr = text.endsWith("\r");
        if (cut)
            text = text.slice(1);
        const [first = "", ...rest] = text.split(LINE_END);
        this.#line.push(first);
        for (const line of rest) {
            const event = this.#take(this.#line.join(""));
            this.#line = [line];
            if (event !== undefined)
                yield event;
        }
    }
    #take(line) {
        if (line === "")
            return this.#dispatch();
        const colon = line.indexOf(":");
        const name = colon < 0 ? line : line.slice(0, colon);
        const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
        if (name === "event")
            this.#event = value;
        else if (name === "data")
            this.#data.push(value);
        else if (name === "id" && !value.includes("\0"))
            this.#id = value;
        return undefined;
    }
    #dispatch() {
        const event = {
            event: this.#event || "message",
            data: this.#data.join("\n"),
            ...(this.#id === undefined ? {} : { id: this.#id }),
        };
        const hasData = this.#data.length > 0;
        this.#event = "";
        this.#data = [];
        this.#id = undefined;
        return hasData ? event : undefined;
    }
}
