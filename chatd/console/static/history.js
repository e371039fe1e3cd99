// The messages on the page: always what the server's templates make of them, each once, in order.
import { fragment, nodes } from "./api.js";
import { localTimes } from "./page.js";

const MAX_PAGES = 50; // of messages that came while the page was away: after more of them it loads itself anew
const RETRY_MILLISECONDS = 1000;

export class History {
  #root;
  #path;
  #generation = 0;
  #queue = Promise.resolve();

  #onFailure;

  constructor(root, chatId, { onFailure }) {
    this.#onFailure = onFailure;
    this.#root = root;
    this.#path = `/console/chats/${chatId}`;
  }

  get lastId() {
    return Number(this.#articles().at(-1)?.dataset.id ?? 0);
  }

  get last() {
    return this.#articles().at(-1);
  }

  /** Drop the messages from an id on. */
  dropFrom(id) {
    this.#generation += 1;
    for (const article of this.#articles()) if (Number(article.dataset.id) >= id) article.remove();
  }

  /** Drop what a snapshot has no more. */
  keepOnly(messages) {
    this.#generation += 1;
    const kept = new Set(messages.map(({ id }) => id));
    const oldest = messages[0]?.id ?? 0;
    for (const article of this.#articles()) {
      const id = Number(article.dataset.id);
      if (id >= oldest && !kept.has(id)) article.remove();
    }
  }

  /** Load the messages up to one, and put them in the place of `settled`, the answer that was shown live. */
  loadTo(id, settled) {
    this.#queue = this.#queue.then(() => this.#load(id, settled));
    return this.#queue;
  }

  async #load(id, settled) {
    for (let page = 0; this.lastId < id; page += 1) {
      if (page === MAX_PAGES) location.reload();
      const generation = this.#generation;
      try {
        const { html } = await fragment(`${this.#path}/after?after_id=${this.lastId}`);
        if (generation !== this.#generation) continue; // messages were dropped meanwhile, maybe these
        const fresh = nodes(html);
        const isEmpty = fresh.querySelector("article") === null;
        localTimes(fresh);
        this.#root.append(fresh);
        if (isEmpty) break; // it was dropped, which the next event says
      } catch (error) {
        this.#onFailure(error);
        await new Promise((resolve) => setTimeout(resolve, RETRY_MILLISECONDS));
        page -= 1;
      }
    }
    settled?.remove();
  }

  /** Load the messages before those on the page, without moving what is read. */
  async loadOlder(button) {
    button.disabled = true;
    try {
      const { html } = await fragment(`${this.#path}/before?before_id=${button.dataset.before}`);
      const fresh = nodes(html);
      localTimes(fresh);
      const first = this.#articles()[0];
      const before = first?.getBoundingClientRect().top ?? 0;
      button.closest(".older").replaceWith(fresh);
      if (first) {
        window.scrollBy({ top: first.getBoundingClientRect().top - before, behavior: "instant" });
        first.previousElementSibling?.focus({ preventScroll: true });
      }
    } finally {
      button.disabled = false;
    }
  }

  #articles() {
    return [...this.#root.querySelectorAll(":scope > article")];
  }
}
