"""The API to be read and tried in a browser, from this host alone.

FastAPI's own page has the browser fetch a script from a host that is neither ours nor the caller's,
and run it beside the caller's token; where there is no internet it stays blank.
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
"""What the page is made of."""


@router.get("/docs")
async def docs() -> HTMLResponse:
    """Every address in it is relative, so that it also works behind a proxy's prefix."""
    return get_swagger_ui_html(
        openapi_url="openapi.json",
        title="chatd",
        swagger_js_url=SCRIPT,
        swagger_css_url=STYLE,
        swagger_favicon_url=ICON,
    )


def install(app: FastAPI) -> None:
    """Serve the page and what it is made of."""
    app.include_router(router)
    app.mount(f"/{_ASSETS_PATH}", StaticFiles(packages=[("fastapi_offline", "static")]))
