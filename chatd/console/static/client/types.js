export function textOf(content) {
    return content.map((part) => (part.type === "text" ? part.text : "")).join("");
}
