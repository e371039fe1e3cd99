// A chat: its stream keeps the page current, and its forms and buttons act on it.
import { act } from "./actions.js";
import { client, fragment, nodes, reason } from "./api.js";
import { Composer } from "./composer.js";
import { History } from "./history.js";
import { announce, localTimes, onKeys, remember, sendByEnter, showProblem, step, update } from "./page.js";
import { Preview } from "./preview.js";
import { followWhileVisible } from "./visible.js";

const page = document.getElementById("talk");
const chatId = page.dataset.chat;
const isLive = page.dataset.live === "yes";
const history = new History(document.getElementById("messages"), chatId, {
  onFailure: (error) => say(`Messages could not be loaded (${reason(error)}). It is tried again …`),
});
const preview = new Preview(document.getElementById("preview"));
const problem = document.getElementById("problem");
const hint = document.getElementById("connection");
const stop = document.getElementById("stop");
const usualHint = hint.textContent;

const BUSY = new Set(["pending", "running", "interrupting", "requires_action", "parked"]);
const STATE_MILLISECONDS = 60;
const NEAR_END_PIXELS = 120;
const SPOKEN_CHARACTERS = 600;

let stateTimer;
let stateWanted = 0;
let follows = location.hash === "";

const composer = new Composer(document.getElementById("composer"), chatId, {
  onSent: () => {
    follows = true;
    if (!isLive) location.assign(`/chats/${chatId}`);
  },
});

/** Load everything but the messages again, once for many events. */
function refreshState() {
  stateTimer ??= setTimeout(loadState, STATE_MILLISECONDS);
}

async function loadState() {
  stateTimer = undefined;
  const wanted = ++stateWanted;
  try {
    const { html } = await fragment(`/console/chats/${chatId}/state`);
    if (wanted !== stateWanted) return; // a later one is on its way
    const fresh = nodes(html);
    for (const id of ["state-top", "state-bottom"]) update(document.getElementById(id), fresh.getElementById(id));
    showStatus(document.getElementById("status").dataset.status);
  } catch {
    setTimeout(refreshState, 1000);
  }
}

function showStatus(status) {
  stop.hidden = !BUSY.has(status);
  stop.disabled = status === "interrupting";
}

function say(text) {
  hint.textContent = text || usualHint;
}

const handlers = {
  snapshot({ chat, messages, parts }) {
    history.keepOnly(messages);
    preview.clear();
    for (const part of parts) preview.add(part);
    const last = messages.at(-1);
    if (last) history.loadTo(last.id);
    showStatus(chat.status);
    refreshState();
  },
  message(message) {
    if (message.role === "user") {
      history.loadTo(message.id);
      return;
    }
    const loaded = history.loadTo(message.id, preview.settle());
    if (message.role === "assistant") loaded.then(speakLast);
  },
  message_part: (part) => preview.add(part),
  preview_reset: () => preview.clear(),
  history_reset({ from_message_id: id }) {
    preview.clear();
    history.dropFrom(id);
  },
  status({ status }) {
    showStatus(status);
    if (status === "running") announce("Answering.");
    if (status === "requires_action") announce("The chat needs your answer.");
    say("");
    refreshState();
  },
  retry: ({ failure, delay_seconds: seconds }) =>
    say(`${failure.message} Tried again in ${Math.max(1, Math.round(seconds))} s.`),
  error({ last_error: why }) {
    announce(`The answer failed. ${why}`);
    refreshState();
  },
  notices: ({ notices }) => say(notices.map(({ message }) => message).join(" ")),
  queue_update: refreshState,
  action_required: refreshState,
  action_answered: refreshState,
  chat: refreshState,
  deleted: () => location.assign("/"),
};

function speakLast() {
  const text = [...(history.last?.querySelectorAll(".text") ?? [])].map((each) => each.innerText).join(" ");
  announce(text.length > SPOKEN_CHARACTERS ? `${text.slice(0, SPOKEN_CHARACTERS)} … Answer complete.` : text);
}

function follow() {
  const onReconnect = (error, seconds) => {
    if (error || seconds > 0) say("The connection is lost. It is tried again …");
  };
  return followWhileVisible(
    (options) => client.follow(chatId, { ...options, onReconnect }),
    ({ event, data }) => {
      if (hint.textContent.startsWith("The connection")) say("");
      handlers[event]?.(data);
    },
  );
}

/** Keep the end of the page in view while an answer grows, unless the reader has gone elsewhere. */
function keepEndInView() {
  const isNearEnd = () => window.innerHeight + window.scrollY >= document.documentElement.scrollHeight - NEAR_END_PIXELS;
  const toEnd = () => window.scrollTo({ top: document.documentElement.scrollHeight, behavior: "instant" });
  let last = window.scrollY;
  window.addEventListener("scroll", () => {
    if (window.scrollY < last) follows = isNearEnd();
    else follows ||= isNearEnd();
    last = window.scrollY;
  }, { passive: true });
  new ResizeObserver(() => follows && toEnd()).observe(page);
  if (follows) toEnd();
}

/** Do what a button or a form says, and show why it failed. */
async function perform(name, element, submitter) {
  showProblem(problem, "");
  try {
    await act(name, { element, submitter, chatId, history, composer });
  } catch (error) {
    showProblem(problem, reason(error));
    announce(reason(error));
  }
  refreshState();
}

page.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-action]");
  if (button === null) return;
  if (button.dataset.confirm && !isConfirmed(button)) return;
  void perform(button.dataset.action, button);
});
page.addEventListener("submit", (event) => {
  const form = event.target.closest("form[data-form]");
  if (form === null) return;
  event.preventDefault();
  void perform(form.dataset.form, form, event.submitter);
});

/** The second click within some seconds confirms. */
function isConfirmed(button) {
  if (button.dataset.asked) return true;
  const words = button.textContent;
  button.dataset.asked = "yes";
  button.textContent = button.dataset.confirm;
  announce(button.dataset.confirm);
  setTimeout(() => {
    delete button.dataset.asked;
    button.textContent = words;
  }, 5000);
  return false;
}

onKeys({
  n: () => composer.focus(),
  u: () => location.assign("/"),
  j: () => step("article.message", 1),
  k: () => step("article.message", -1),
  Escape: () => {
    if (!stop.hidden && !stop.disabled) stop.click();
    else document.activeElement?.blur();
  },
});
for (const id of ["state-top", "state-bottom"]) remember(document.getElementById(id));
sendByEnter(document.getElementById("composer"));
localTimes();
keepEndInView();
if (location.hash === "") composer.focus();
if (isLive) {
  try {
    await follow();
  } catch (error) {
    say(reason(error));
  }
}
