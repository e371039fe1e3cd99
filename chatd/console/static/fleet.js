// The fleet, loaded again every few seconds, and the actions of operators.
import { client, fragment, nodes, reason } from "./api.js";
import { announce, localTimes, showProblem, update } from "./page.js";

const REFRESH_MILLISECONDS = 5000;
const fleet = document.getElementById("fleet");
const pause = document.getElementById("pause");
const freshness = document.getElementById("freshness");
const problem = document.getElementById("problem");

const ACTIONS = {
  drain: (id) => client.fleet.drain(id),
  resume: (id) => client.fleet.resume(id),
  interrupt: (id) => client.fleet.interrupt(id),
  retry: (id) => client.fleet.retry(id),
  archive: (id) => client.fleet.archive(id),
};
const DONE = {
  drain: "The worker claims no more chats.",
  resume: "The worker claims chats again.",
  interrupt: "The chat is being stopped.",
  retry: "The chat is tried again.",
  archive: "The chat is archived.",
};

let paused = false;
let loading = false;

async function refresh() {
  if (loading) return;
  loading = true;
  try {
    const fresh = nodes((await fragment(`/console/fleet${location.search}`)).html);
    for (const open of fleet.querySelectorAll("details[open]")) {
      const same = open.id && fresh.getElementById(open.id);
      if (same) same.open = true;
    }
    update(fleet, fresh);
    freshness.textContent = paused ? "Paused" : "Every 5 seconds";
  } catch {
    freshness.textContent = "The server does not answer";
  }
  loading = false;
}

pause.addEventListener("click", () => {
  paused = !paused;
  pause.setAttribute("aria-pressed", String(paused));
  freshness.textContent = paused ? "Paused" : "Every 5 seconds";
  if (!paused) refresh();
});

fleet.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-do]");
  if (!button || button.getAttribute("aria-disabled") === "true") return;
  const { do: action, worker, chat } = button.dataset;
  button.setAttribute("aria-disabled", "true");
  showProblem(problem, "");
  try {
    await ACTIONS[action](worker ?? chat);
    announce(DONE[action]);
    await refresh();
  } catch (error) {
    showProblem(problem, reason(error));
  }
  button.removeAttribute("aria-disabled");
});

localTimes();
setInterval(() => {
  if (!paused && !document.hidden) refresh();
}, REFRESH_MILLISECONDS);
document.addEventListener("visibilitychange", () => {
  if (!paused && !document.hidden) refresh();
});
