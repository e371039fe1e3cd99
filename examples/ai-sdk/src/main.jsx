import { useChat } from "@ai-sdk/react";
import { DefaultChatTransport, lastAssistantMessageIsCompleteWithApprovalResponses } from "ai";
import { StrictMode, useEffect, useState } from "react";
import { createRoot } from "react-dom/client";

const api = "/ai/v7/chat"; // v7: the major version of the package "ai"
const token = import.meta.env.VITE_CHATD_TOKEN;
const headers = token ? { Authorization: `Bearer ${token}` } : {};

// The address has the id of the chat, so a reload comes back to it.
location.hash ||= crypto.randomUUID();
const id = location.hash.slice(1);

function Chat({ initial }) {
  const [text, setText] = useState("");
  const { messages, sendMessage, addToolApprovalResponse, status, error, regenerate } = useChat({
    id,
    messages: initial,
    resume: true,
    transport: new DefaultChatTransport({ api, headers }),
    sendAutomaticallyWhen: lastAssistantMessageIsCompleteWithApprovalResponses,
  });
  const isBusy = status === "submitted" || status === "streaming";
  // The server stops the turn, and the stream ends by itself.
  const stop = () => fetch(`${api}/${id}/stop`, { method: "POST", headers });
  const send = (event) => {
    event.preventDefault();
    if (text.trim()) sendMessage({ text });
    setText("");
  };

  return (
    <main>
      <h1>chatd and the AI SDK</h1>
      {messages.map((message) => (
        <article key={message.id} data-role={message.role}>
          {message.parts.map((part, number) => (
            <Part key={number} part={part} answer={addToolApprovalResponse} />
          ))}
        </article>
      ))}
      {error && (
        <p role="alert">
          {error.responseBody ?? error.message} <button onClick={() => regenerate()}>Try again</button>
        </p>
      )}
      <form onSubmit={send}>
        <input aria-label="Message" value={text} onChange={(event) => setText(event.target.value)} autoFocus />
        <button>Send</button>
        <button type="button" onClick={stop} disabled={!isBusy}>
          Stop
        </button>
      </form>
    </main>
  );
}

function Part({ part, answer }) {
  if (part.type === "text") return <span>{part.text}</span>;
  if (!part.type.startsWith("tool-")) return null;
  const decide = (approved) => () => answer({ id: part.approval.id, approved });
  return (
    <aside>
      {part.type.slice("tool-".length)} {JSON.stringify(part.input)}{" "}
      {part.state === "approval-requested" ? (
        <>
          <button onClick={decide(true)}>Allow</button> <button onClick={decide(false)}>Deny</button>
        </>
      ) : (
        <b>{part.errorText ?? JSON.stringify(part.output) ?? part.state}</b>
      )}
    </aside>
  );
}

function Page() {
  const [initial, setInitial] = useState();
  useEffect(() => {
    // 404: the chat is made by its first message.
    fetch(`${api}/${id}`, { headers })
      .then((answer) => (answer.ok ? answer.json() : { messages: [] }))
      .then((chat) => setInitial(chat.messages));
  }, []);
  return initial ? <Chat initial={initial} /> : null;
}

createRoot(document.getElementById("root")).render(
  <StrictMode>
    <Page />
  </StrictMode>,
);
