// The page that says why a chat is as it is: times in the reader's zone, to the second, and keys.
import { onKeys, step } from "./page.js";

const format = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
for (const time of document.querySelectorAll("time[datetime]")) time.textContent = format.format(new Date(time.dateTime));

const links = ".timeline .what .link";
onKeys({
  j: () => step(links, 1),
  k: () => step(links, -1),
  u: () => document.querySelector(".about a")?.click(),
});
