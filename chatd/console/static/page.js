// What all pages share: local times, messages for screen readers, keys, and rows that keep their state.

const format = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

/** Show times in the reader's own zone. */
export function localTimes(root = document) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const date = new Date(time.dateTime);
    if (!Number.isNaN(date.getTime())) time.textContent = format.format(date);
  }
}

/** Have screen readers say a text once they are idle. */
export function announce(text) {
  document.getElementById("announcement").textContent = text;
}

/** Show a problem, or none. */
export function showProblem(element, text) {
  element.textContent = text;
  element.hidden = text === "";
}

const shown = new WeakMap();

/** Remember the children of an element as the server made them, before anything changes in them. */
export function remember(target) {
  for (const child of target.children) shown.set(child, child.outerHTML);
}

/**
 * Make the children of `target` those of `source`, by their ids. One whose HTML is as before stays, with the
 * focus and what is typed in it.
 */
export function update(target, source) {
  const before = new Map([...target.children].map((child) => [child.id, child]));
  const children = [...source.children].map((child) => {
    const html = child.outerHTML;
    const kept = before.get(child.id);
    if (kept && child.id && shown.get(kept) === html) return kept;
    if (kept instanceof HTMLDetailsElement) child.open = kept.open;
    if (kept && kept.contains(document.activeElement) && isTypedIn(document.activeElement)) return kept;
    shown.set(child, html);
    return child;
  });
  const same = children.length === target.children.length && children.every((child, at) => child === target.children[at]);
  if (!same) {
    const focused = target.contains(document.activeElement) ? document.activeElement : null;
    target.replaceChildren(...children);
    if (focused && !focused.isConnected) again(target, focused)?.focus();
  }
  localTimes(target);
}

function isTypedIn(element) {
  return element.matches("input:not([type=checkbox]), textarea, select");
}

/** Return what stands in the place of an element that was replaced. */
function again(target, { id, dataset }) {
  if (id) return document.getElementById(id);
  return dataset.action ? target.querySelector(`[data-action="${dataset.action}"]`) : null;
}

/** Send a form by Enter in its text area, as its hint says. */
export function sendByEnter(form) {
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.target.tagName !== "TEXTAREA") return;
    event.preventDefault();
    form.requestSubmit();
  });
}

/** Call functions by single keys, unless something is typed. Escape counts everywhere. */
export function onKeys(actions) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const typing = event.target.closest?.("input, textarea, select");
    if (typing && event.key !== "Escape") return;
    const action = actions[event.key];
    if (action && action(event) !== false) event.preventDefault();
  });
}

/** Move the focus to the next or previous of some elements. */
export function step(selector, by) {
  const all = [...document.querySelectorAll(selector)];
  if (all.length === 0) return;
  const at = all.findIndex((each) => each === document.activeElement || each.contains(document.activeElement));
  const from = at < 0 && by < 0 ? all.length : at;
  all[Math.max(0, Math.min(all.length - 1, from + by))].focus();
}
