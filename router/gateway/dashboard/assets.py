"""The files of the page. They have no secrets, and the same content for everyone."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping
from importlib import resources
from importlib.resources.abc import Traversable

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
    """The files by their path in the folder `static`, like `views/now.js`."""
    return dict(_assets_in(resources.files(__package__).joinpath("static"), ""))


def _assets_in(folder: Traversable, path: str) -> Iterator[tuple[str, Asset]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _assets_in(entry, f"{path}{entry.name}/")
        elif kind := _TYPES.get(entry.name.rpartition(".")[2]):
            content = entry.read_bytes()
            yield (
                f"{path}{entry.name}",
                Asset(content, kind, f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'),
            )


class Pages:
    """Handlers of the page and its files, which are there while `is_on` returns true."""

    def __init__(self, is_on: Callable[[], bool]) -> None:
        self._is_on = is_on

    async def page(self, request: Request) -> Response:
        """`GET /dashboard`."""
        return self._answer(request, PAGE)

    async def asset(self, request: Request) -> Response:
        """`GET /dashboard/assets/{path}`. Raises HTTPException for an unknown file."""
        return self._answer(request, request.path_params["path"])

    def _answer(self, request: Request, path: str) -> Response:
        found = assets().get(path)
        if found is None or not self._is_on():
            raise HTTPException(404)
        headers = {**HEADERS, "etag": found.tag, "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == found.tag:
            return Response(status_code=304, headers=headers)
        return Response(found.content, headers=headers, media_type=found.kind)
