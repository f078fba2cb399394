"""The page of the kiosk's screen, and the page that describes the API: files of ours, nothing from elsewhere."""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_PAGE = {"style.css", "kiosk.js", "device.js", "drawing.js", "icon.svg"}
_DOCS = {"docs.js"}
_SWAGGER = {"swagger-ui.css", "swagger-ui-bundle.js"}
_COMMON = "default-src 'none'; script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
PAGE_POLICY = _COMMON + "style-src 'self'; img-src 'self' blob:; frame-ancestors 'none'"
# Swagger UI writes styles into its elements and draws its icons from data addresses.
DOCS_POLICY = _COMMON + "style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"


def make_pages() -> APIRouter:
    """`/`, `/docs` and the files they load."""
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    def page() -> Response:
        return _file(_own("index.html"), PAGE_POLICY)

    @router.get("/page/{name}")
    def page_file(name: str) -> Response:
        return _file(_own(_known(name, _PAGE)), PAGE_POLICY)

    @router.get("/docs")
    def docs() -> Response:
        return _file(_own("docs.html"), DOCS_POLICY)

    @router.get("/docs/{name}")
    def docs_file(name: str) -> Response:
        folder = _swagger if name in _SWAGGER else _own
        return _file(folder(_known(name, _SWAGGER | _DOCS)), DOCS_POLICY)

    @router.get("/openapi.json")
    def openapi(request: Request) -> Response:
        from starlette.responses import JSONResponse

        return JSONResponse(request.app.openapi())

    return router


def _known(name: str, names: set[str]) -> str:
    if name not in names:
        raise HTTPException(404)
    return name


def _own(name: str) -> Traversable:
    return resources.files("edge.kiosk") / "page" / name


def _swagger(name: str) -> Traversable:
    """Swagger UI as the package fastapi-offline carries it."""
    return resources.files("fastapi_offline") / "static" / name


def _file(file: Traversable, policy: str) -> Response:
    kind = _KINDS["." + file.name.rpartition(".")[2]]
    return Response(file.read_bytes(), media_type=kind, headers={"content-security-policy": policy})
