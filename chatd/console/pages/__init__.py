"""Pages: one package for each, with its routes."""

from typing import Final

from starlette.routing import Route

from chatd.console.pages.fleet import routes as fleet
from chatd.console.pages.home import routes as home
from chatd.console.pages.sign_in import routes as sign_in
from chatd.console.pages.talk import routes as talk
from chatd.console.pages.why import routes as why

ROUTES: Final[tuple[Route, ...]] = (
    *home.ROUTES,
    *talk.ROUTES,
    *why.ROUTES,
    *fleet.ROUTES,
    *sign_in.ROUTES,
)
"""The routes of all pages. Others are the API's, but for those below ``/chats/`` and ``/console/``."""
