// The answer under way: deltas are added as text, ten times a second at most, and cost no layout of what is done.

const FLUSH_MILLISECONDS = 100;
const BLOCK_CHARACTERS = 2000;
const LABELS = { reasoning: "Reasoning", "tool-call": "Tool", "native-tool-call": "Tool", "tool-progress": "Progress" };

/** The preview of the current step in an element. */
export class Preview {
  #root;
  #article;
  #parts = new Map();
  #pending = new Map();
  #timer;

  constructor(root) {
    this.#root = root;
  }

  /** Whether anything of the answer is shown. */
  get isEmpty() {
    return this.#article === undefined;
  }

  add(delta) {
    const key = `${delta.type === "tool-progress" ? "progress" : "part"} ${delta.index}`;
    const text = delta.text ?? delta.args ?? "";
    const pending = this.#pending.get(key) ?? { delta: {}, text: "" };
    this.#pending.set(key, { delta: { ...pending.delta, ...delta }, text: pending.text + text });
    this.#timer ??= setTimeout(() => this.#flush(), FLUSH_MILLISECONDS);
  }

  /** Take the shown answer out of the preview, and begin a new one. It stays on the page until it is removed. */
  settle() {
    this.#flush();
    const article = this.#article;
    this.#article = undefined;
    this.#parts.clear();
    return article;
  }

  clear() {
    this.#pending.clear();
    this.settle()?.remove();
  }

  #flush() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const [key, { delta, text }] of this.#pending) {
      const part = this.#part(key, delta);
      part.name(delta);
      part.append(text);
    }
    this.#pending.clear();
  }

  #part(key, delta) {
    let part = this.#parts.get(key);
    if (part === undefined) {
      if (this.#article === undefined) {
        this.#article = document.createElement("article");
        this.#article.className = "message assistant live";
        this.#article.setAttribute("aria-label", "Answer under way");
        this.#root.append(this.#article);
      }
      part = new Part(delta.type);
      this.#parts.set(key, part);
      this.#article.append(part.element);
    }
    return part;
  }
}

class Part {
  #summary;
  #box;
  #text;
  #name = "";

  constructor(type) {
    this.#box = document.createElement(type === "text" || type === "reasoning" ? "div" : "pre");
    this.#box.className = "plain";
    if (this.#box.tagName === "PRE") this.#box.tabIndex = 0;
    this.element = this.#box;
    if (type === "text") return;
    this.element = document.createElement("details");
    this.element.className = "fold";
    this.element.open = type === "tool-progress";
    this.#summary = document.createElement("summary");
    this.#summary.textContent = LABELS[type] ?? type;
    this.element.append(this.#summary, this.#box);
  }

  /** Show what the part is, as far as the delta says it. */
  name(delta) {
    if (this.#summary === undefined) return;
    const steps = delta.progress == null ? "" : `${delta.progress}${delta.total == null ? "" : ` of ${delta.total}`}`;
    const words = [delta.tool_name, delta.message || "", steps].filter(Boolean).join(" ");
    if (words && words !== this.#name) {
      this.#name = words;
      this.#summary.textContent = words;
    }
  }

  /** Append text. A long text is a row of blocks, so that only the last one is laid out again. */
  append(text) {
    if (text === "") return;
    if (this.#text === undefined) this.#startBlock();
    const end = this.#text.length > BLOCK_CHARACTERS ? text.indexOf("\n") + 1 : 0;
    if (end > 0) {
      this.#text.appendData(text.slice(0, end));
      this.#startBlock();
    }
    this.#text.appendData(text.slice(end));
  }

  #startBlock() {
    const block = document.createElement("div");
    this.#text = document.createTextNode("");
    block.append(this.#text);
    this.#box.append(block);
  }
}
