// Streams of pages that somebody sees. A browser opens six connections to a server over HTTP/1.1, and tabs in the
// background would take them all.

const HIDDEN_MILLISECONDS = 3000;

/**
 * Pass the events of a stream on, as long as the page is visible, and those that it missed once it is again.
 *
 * `open` returns the stream after a cursor, or from the start, and ends it by the signal.
 */
export async function followWhileVisible(open, onEvent) {
  for (let cursor; ; ) {
    await visible();
    const control = new AbortController();
    const stopWatching = abortWhenHidden(control);
    const events = open({ signal: control.signal, ...(cursor === undefined ? {} : { after: cursor }) });
    try {
      for await (const event of events) onEvent(event);
      return;
    } catch (error) {
      if (!control.signal.aborted) throw error;
    } finally {
      stopWatching();
    }
    cursor = events.cursor;
  }
}

function visible() {
  if (document.visibilityState === "visible") return undefined;
  return new Promise((resolve) => {
    document.addEventListener("visibilitychange", function check() {
      if (document.visibilityState !== "visible") return;
      document.removeEventListener("visibilitychange", check);
      resolve();
    });
  });
}

function abortWhenHidden(control) {
  let timer;
  const watch = () => {
    clearTimeout(timer);
    if (document.visibilityState === "hidden") timer = setTimeout(() => control.abort(), HIDDEN_MILLISECONDS);
  };
  document.addEventListener("visibilitychange", watch);
  watch();
  return () => {
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", watch);
  };
}
