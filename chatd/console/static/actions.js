// What the buttons and forms of a chat do: one call of the API each.
import { client } from "./api.js";
import { announce } from "./page.js";

/** Do what an element names. Its article, its queued message or its question says on what. */
export function act(name, context) {
  return actions[name](context);
}

const actions = {
  interrupt: ({ chatId }) => client.chats.interrupt(chatId),
  retry: ({ chatId }) => client.chats.retry(chatId),
  regenerate: ({ chatId, element }) => client.messages.regenerate(chatId, messageId(element)),
  archive: ({ chatId }) => client.chats.update(chatId, { archived: true }),
  unarchive: ({ chatId }) => client.chats.update(chatId, { archived: false }),
  async delete({ chatId }) {
    await client.chats.delete(chatId);
    location.assign("/");
  },
  async fork({ chatId, element }) {
    const message = element.closest("article");
    const fork = await client.chats.fork(chatId, message ? { from_message_id: messageId(element) } : {});
    location.assign(`/chats/${fork.id}`);
  },
  async copy({ element }) {
    const texts = [...element.closest("article").querySelectorAll(":scope > .text")];
    await navigator.clipboard.writeText(texts.map((each) => each.innerText).join("\n\n"));
    announce("Copied.");
  },
  older: ({ element, history }) => history.loadOlder(element),
  edit: ({ chatId, element }) => editMessage(chatId, element.closest("article")),
  promote: ({ chatId, element }) => client.queue.promote(chatId, queuedId(element)),
  "remove-queued": ({ chatId, element }) => client.queue.remove(chatId, queuedId(element)),
  async "edit-queued"({ chatId, element, composer }) {
    const text = element.closest("[data-queued]").querySelector("p").textContent;
    await client.queue.remove(chatId, queuedId(element));
    composer.fill(text);
  },
  describe({ chatId, element }) {
    const { title, labels } = Object.fromEntries(new FormData(element));
    const pairs = labels.split("\n").map((line) => line.split(":")).filter(([name]) => name.trim() !== "");
    const map = Object.fromEntries(pairs.map(([name, ...value]) => [name.trim(), value.join(":").trim()]));
    element.closest("details").open = false;
    document.activeElement?.blur();
    return client.chats.update(chatId, { title, labels: map });
  },
  approval({ chatId, element, submitter }) {
    const id = element.closest("[data-call]").dataset.call;
    const { reason, remember } = Object.fromEntries(new FormData(element));
    const more = remember ? { remember: "chat" } : {};
    document.activeElement?.blur();
    if (submitter?.value === "deny") return client.deny(chatId, id, { ...more, ...(reason ? { reason } : {}) });
    return client.approve(chatId, id, more);
  },
  input({ chatId, element, submitter }) {
    const { call, number } = element.closest("[data-call]").dataset;
    const answer = { tool_call_id: call, question_number: Number(number) };
    const isDeclined = submitter?.value === "decline";
    const filled = isDeclined ? { input: "decline" } : { input: "accept", content: contentOf(element) };
    document.activeElement?.blur();
    return client.answerActions(chatId, [{ ...answer, ...filled }]);
  },
};

/** Return the content of a form that a schema describes. Fields that were left empty are left out. */
function contentOf(form) {
  const content = {};
  for (const field of form.querySelectorAll("[data-type]")) {
    const { type, name } = field.dataset;
    if (type === "boolean") content[name] = field.checked;
    else if (type === "array") content[name] = [...field.querySelectorAll("input:checked")].map(({ value }) => value);
    else if (field.value === "") continue;
    else if (type === "json") Object.assign(content, JSON.parse(field.value));
    else content[name] = type === "number" || type === "integer" ? Number(field.value) : field.value;
  }
  return content;
}

/** Show a form in place of a message's text. */
function editMessage(chatId, article) {
  if (article.querySelector("form")) return;
  const texts = [...article.querySelectorAll(":scope > .text")];
  const form = document.createElement("form");
  form.className = "stack";
  const field = document.createElement("textarea");
  field.rows = 4;
  field.value = texts.map((each) => each.textContent).join("\n");
  field.setAttribute("aria-label", "Edited message");
  const row = document.createElement("div");
  row.className = "row";
  const save = document.createElement("button");
  save.className = "main";
  save.textContent = "Send edited";
  const cancel = document.createElement("button");
  cancel.type = "button";
  cancel.textContent = "Cancel";
  row.append(save, cancel);
  form.append(field, row);
  const end = () => {
    form.remove();
    for (const text of texts) text.hidden = false;
  };
  cancel.addEventListener("click", end);
  form.dataset.form = "save-edit";
  for (const text of texts) text.hidden = true;
  article.querySelector("header").after(form);
  field.focus();
}

actions["save-edit"] = ({ chatId, element }) => {
  const article = element.closest("article");
  const files = [...article.querySelectorAll("[data-file]")].map(({ dataset }) => ({ type: "file", file_id: dataset.file }));
  const text = element.querySelector("textarea").value;
  const content = files.length === 0 ? text : [...(text.trim() ? [{ type: "text", text }] : []), ...files];
  return client.messages.edit(chatId, messageId(element), content);
};

function messageId(element) {
  return Number(element.closest("article").dataset.id);
}

function queuedId(element) {
  return Number(element.closest("[data-queued]").dataset.queued);
}
