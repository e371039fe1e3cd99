"""Rule for text that an HTTP header carries, such as an API key or a token."""


def header_value_problem(value: str) -> str | None:
    """Return why no header can carry this value (RFC 9110 section 5.5; clients send ASCII), or None."""
    if "\n" in value or "\r" in value:
        return "has a line end inside"
    if not value.isascii():
        return "has a character that is not ASCII"
    if value != value.strip(" \t"):
        return "begins or ends with a blank"
    return None if value.replace("\t", "").isprintable() else "has a control character"
