"""Files that pages load: styles and scripts, read once, under a name that changes with their content."""

import hashlib
import posixpath
import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_IMPORT: Final = re.compile(r'^import [^"]*"(\./[^"]+)";', re.MULTILINE)
_FOR_EVER: Final = "public, max-age=31536000, immutable"


class Assets:
    """The files of ``static``. Their folder is named by a hash of them all, so that modules import each
    other by relative names.
    """  # noqa: D205

    def __init__(self) -> None:
        self._files = dict(_read(files("chatd.console") / "static", ""))
        self._scripts: dict[str, Markup] = {}
        digest = hashlib.sha256()
        for name in sorted(self._files):
            digest.update(name.encode() + b"\0" + self._files[name])
        self.version = digest.hexdigest()[:16]
        self.route = Route("/console/static/{version}/{name:path}", self._serve)

    def script(self, name: str) -> Markup:
        """Return the elements that load a script, with all modules that it imports at once."""
        if name not in self._scripts:
            element = Markup('<script type="module" src="{}"></script>').format(self.url(name))
            preloads = [
                Markup('\n<link rel="modulepreload" href="{}">').format(self.url(module))
                for module in self._modules(name)
            ]
            self._scripts[name] = Markup().join([element, *preloads])
        return self._scripts[name]

    def _modules(self, name: str) -> list[str]:
        """Return the names of all modules that a script imports, itself or by others."""
        found: list[str] = []
        pending = [name]
        while pending:
            importer = pending.pop()
            for target in _IMPORT.findall(self._files[importer].decode()):
                module = posixpath.normpath(posixpath.join(posixpath.dirname(importer), target))
                if module not in found:
                    found.append(module)
                    pending.append(module)
        return found

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
