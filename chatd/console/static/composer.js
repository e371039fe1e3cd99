// The form for a message and its files. What is typed survives a reload of the page.
import { client, reason } from "./api.js";
import { showProblem } from "./page.js";

const MAX_FILE_BYTES = 3 * 1024 * 1024; // a request holds 4 MiB by default, in base64

export class Composer {
  #form;
  #text;
  #list;
  #chatId;
  #files = [];
  #draftKey;

  constructor(form, chatId, { onSent }) {
    this.#form = form;
    this.#chatId = chatId;
    this.#text = form.elements.content;
    this.#list = form.querySelector(".files");
    this.#draftKey = `draft ${chatId}`;
    this.#text.value = sessionStorage.getItem(this.#draftKey) ?? "";
    this.#text.addEventListener("input", () => this.#keepDraft());
    const picker = form.querySelector("input[type=file]");
    picker.addEventListener("change", () => {
      this.#add([...picker.files]);
      picker.value = "";
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#send(onSent);
    });
  }

  focus() {
    this.#text.focus({ preventScroll: true });
  }

  /** Put a text into the form, before what is there. */
  fill(text) {
    this.#text.value = [text, this.#text.value].filter(Boolean).join("\n");
    this.#keepDraft();
    this.focus();
  }

  async #send(onSent) {
    const text = this.#text.value;
    const files = this.#files;
    if (text.trim() === "" && files.length === 0) return;
    const button = this.#form.querySelector("button.main");
    const problem = this.#form.querySelector("#problem");
    showProblem(problem, "");
    button.disabled = true;
    try {
      const parts = [...(text.trim() === "" ? [] : [{ type: "text", text }]), ...(await Promise.all(files.map(part)))];
      await client.messages.send(this.#chatId, files.length === 0 ? text : parts);
      if (this.#text.value === text) this.#text.value = "";
      this.#files = [];
      this.#showFiles();
      this.#keepDraft();
      onSent();
    } catch (error) {
      showProblem(problem, reason(error));
    }
    button.disabled = false;
  }

  #keepDraft() {
    sessionStorage.setItem(this.#draftKey, this.#text.value);
  }

  #add(files) {
    const problem = this.#form.querySelector("#problem");
    const large = files.filter(({ size }) => size > MAX_FILE_BYTES);
    showProblem(problem, large.length === 0 ? "" : `Too large to send from here: ${large.map(({ name }) => name).join(", ")}`);
    this.#files = [...this.#files, ...files.filter((file) => !large.includes(file))];
    this.#showFiles();
  }

  #showFiles() {
    this.#list.hidden = this.#files.length === 0;
    this.#list.replaceChildren(
      ...this.#files.map((file) => {
        const item = document.createElement("li");
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = "Remove";
        button.className = "quiet";
        button.setAttribute("aria-label", `Remove ${file.name}`);
        button.addEventListener("click", () => {
          this.#files = this.#files.filter((each) => each !== file);
          this.#showFiles();
        });
        item.append(file.name, " ", button);
        return item;
      }),
    );
  }
}

/** Return a file as a part of a message. */
async function part(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return { type: "file", media_type: file.type || "application/octet-stream", name: file.name, data: btoa(text) };
}
