// The API with the session of this page: its cookie goes along by itself, the CSRF token from here.
import { Client } from "./client/client.js";

const token = document.querySelector('meta[name="csrf-token"]')?.content;

/** Go to the sign-in, which leads back to this page. */
function signIn() {
  const here = location.pathname + location.search + location.hash;
  location.assign(`/sign-in?ended=1&next=${encodeURIComponent(here)}`);
}

async function request(url, init = {}) {
  const headers = { ...init.headers, ...(token ? { "x-chatd-csrf": token } : {}) };
  const response = await fetch(url, { ...init, headers });
  if (response.status === 401) signIn();
  return response;
}

export const client = new Client(location.origin, { fetch: request });

/** Return a part of a page as HTML of this server's templates, and the header that says that there is more. */
export async function fragment(path, signal) {
  const response = await request(path, { cache: "no-store", ...(signal ? { signal } : {}) });
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return { html: await response.text(), more: response.headers.get("x-chatd-more") };
}

/** Return the nodes of HTML that this server's templates made. */
export function nodes(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content;
}

/** Return why a request failed, in words. */
export function reason(error) {
  return error?.detail || error?.message || String(error);
}
