"""Routes of ``/docs``: the API to read and try in a browser, with all assets from this host.

FastAPI's own page loads a script from a third party and runs it beside the caller's token. Without
internet access that page stays blank.
"""

from fastapi import APIRouter, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

router = APIRouter(include_in_schema=False)

_ASSETS_PATH = "docs/assets"
SCRIPT = f"{_ASSETS_PATH}/swagger-ui-bundle.js"
STYLE = f"{_ASSETS_PATH}/swagger-ui.css"
ICON = f"{_ASSETS_PATH}/favicon.png"
ASSETS = (SCRIPT, STYLE, ICON)
"""Paths of the files that the page loads, relative to the root."""


@router.get("/docs")
async def docs() -> HTMLResponse:
    """Return the page. Its addresses are relative, so that it works behind a proxy's path prefix."""
    return get_swagger_ui_html(
        openapi_url="openapi.json",
        title="chatd",
        swagger_js_url=SCRIPT,
        swagger_css_url=STYLE,
        swagger_favicon_url=ICON,
    )


def install(app: FastAPI) -> None:
    """Serve the page and its assets."""
    app.include_router(router)
    app.mount(f"/{_ASSETS_PATH}", StaticFiles(packages=[("fastapi_offline", "static")]))
