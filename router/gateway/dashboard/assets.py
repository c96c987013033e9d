"""The files of the page. They have no secrets, and the same content for everyone."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping
from importlib import resources

from msgspec import Struct
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

PAGE = "index.html"
_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
# Nothing from elsewhere, no script or style in the page itself, and no frame around it.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Mapping[str, str] = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
"""Headers of everything that the dashboard serves."""


class Asset(Struct, frozen=True):
    """A file, its media type, and a tag that changes with its content."""

    content: bytes
    kind: str
    tag: str


@functools.cache
def assets() -> Mapping[str, Asset]:
    """The files by name, those of others in the folder `vendor` too."""
    static, found = resources.files(__package__).joinpath("static"), {}
    for file in (*static.iterdir(), *static.joinpath("vendor").iterdir()):
        kind = _TYPES.get(file.name.rpartition(".")[2])
        if kind is not None:
            content = file.read_bytes()
            found[file.name] = Asset(content, kind, f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"')
    return found


class Pages:
    """Handlers of the page and its files, which are there while `is_on` returns true."""

    def __init__(self, is_on: Callable[[], bool]) -> None:
        self._is_on = is_on

    async def page(self, request: Request) -> Response:
        """`GET /dashboard`."""
        return self._answer(request, PAGE)

    async def asset(self, request: Request) -> Response:
        """`GET /dashboard/assets/{name}`. Raises HTTPException for an unknown name."""
        return self._answer(request, request.path_params["name"])

    def _answer(self, request: Request, name: str) -> Response:
        found = assets().get(name)
        if found is None or not self._is_on():
            raise HTTPException(404)
        headers = {**HEADERS, "etag": found.tag, "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == found.tag:
            return Response(status_code=304, headers=headers)
        return Response(found.content, headers=headers, media_type=found.kind)
