"""Content of other protocols as content parts of chatd."""

from chatd.api.schema.content import SentContent
from chatd.domain.message import Part


def text_part(text: str) -> Part:
    """Return text as a part, without what PostgreSQL cannot store."""
    raise NotImplementedError


def file_from_data_url(url: str, *, where: str, name: str | None = None) -> SentContent:
    """Return the file of a ``data:`` URL, as a part and its bytes.

    Raises ``HttpProblem`` (422) that names ``where`` for another kind of URL: nothing is fetched.
    """
    raise NotImplementedError


def joined(pieces: "list[Part | SentContent]") -> SentContent:
    """Return parts and files as the content of one message."""
    raise NotImplementedError
