// The list of chats, kept current, and the form for a new chat.
import { client, fragment, nodes, reason } from "./api.js";
import { followWhileVisible } from "./visible.js";
import { localTimes, onKeys, remember, sendByEnter, showProblem, step, update } from "./page.js";

const list = document.getElementById("chats");
const form = document.getElementById("new-chat");
const problem = form.querySelector(".problem");
const REFRESH_MILLISECONDS = 700;

let timer;
let again = false;
let loading = false;

/** Load the rows again soon, once for many changes. */
function refreshSoon() {
  if (loading) {
    again = true;
    return;
  }
  timer ??= setTimeout(refresh, REFRESH_MILLISECONDS);
}

async function refresh() {
  timer = undefined;
  loading = true;
  try {
    const { html } = await fragment(`/console/chats${location.search}`);
    const fresh = nodes(html);
    const rows = list.querySelector(".chats");
    const freshRows = fresh.querySelector(".chats");
    if (rows && freshRows) {
      update(rows, freshRows);
      list.querySelector(".pager")?.remove();
      const pager = fresh.querySelector(".pager");
      if (pager) list.append(pager);
    } else {
      list.replaceChildren(...fresh.childNodes);
      localTimes(list);
    }
  } catch {
    again = true; // the server is away: the stream says when it is back
  }
  loading = false;
  if (again) {
    again = false;
    setTimeout(refreshSoon, REFRESH_MILLISECONDS);
  }
}

function follow() {
  const archived = new URLSearchParams(location.search).get("archived") || "false";
  let first = true;
  return followWhileVisible(
    (options) => client.followAll({ ...options, archived: archived === "any" ? "any" : archived === "true" }),
    ({ event }) => {
      // The page has the chats of the first snapshot already.
      if (event !== "snapshot" || !first) refreshSoon();
      first = false;
    },
  );
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button.main");
  const { content, model } = Object.fromEntries(new FormData(form));
  if (!content.trim()) return;
  button.disabled = true;
  showProblem(problem, "");
  try {
    const chat = await client.chats.create(content, model ? { model } : {});
    location.assign(`/chats/${chat.id}`);
  } catch (error) {
    showProblem(problem, reason(error));
    button.disabled = false;
  }
});

document.getElementById("filters").addEventListener("change", (event) => {
  if (event.target.tagName === "SELECT") event.currentTarget.requestSubmit();
});

const rows = list.querySelector(".chats");
if (rows) remember(rows);
sendByEnter(form);
localTimes();
onKeys({
  n: () => document.getElementById("first-message").focus(),
  "/": () => document.querySelector("input[type=search]").focus(),
  j: () => step("a.chat", 1),
  k: () => step("a.chat", -1),
  Escape: () => document.activeElement?.blur(),
});
window.addEventListener("pageshow", (event) => {
  form.querySelector("button.main").disabled = false;
  if (event.persisted) refreshSoon();
});
await follow();
