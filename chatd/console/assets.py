"""Files that pages load: styles and scripts, read once, under a name that changes with their content."""

import hashlib
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_FOR_EVER: Final = "public, max-age=31536000, immutable"


class Assets:
    """The files of ``static``. Their folder is named by a hash of them all, so that modules import each
    other by relative names.
    """  # noqa: D205

    def __init__(self) -> None:
        self._files = dict(_read(files("chatd.console") / "static", ""))
        digest = hashlib.sha256()
        for name in sorted(self._files):
            digest.update(name.encode() + b"\0" + self._files[name])
        self.version = digest.hexdigest()[:16]
        self.route = Route("/console/static/{version}/{name:path}", self._serve)

    def url(self, name: str) -> str:
        """Return the path of a file. Raises ``KeyError`` for a name that there is not."""
        self._files[name]
        return f"/console/static/{self.version}/{name}"

    async def _serve(self, request: Request) -> Response:
        name = request.path_params["name"]
        content = self._files.get(name)
        if content is None:
            return Response(status_code=404)
        # Another version's name comes from a page of another replica while a new version is rolled out.
        is_current = request.path_params["version"] == self.version
        return Response(
            content,
            media_type=_TYPES[name[name.rindex(".") :]],
            headers={"cache-control": _FOR_EVER if is_current else "no-store"},
        )


def _read(folder: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _read(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(tuple(_TYPES)):
            found.append((prefix + entry.name, entry.read_bytes()))
    return found
