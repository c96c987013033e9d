"""Raw heads of HTTP requests: known forms of smuggling, and mutations. The same number gives the same bytes."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping

from tests.fuzz.damage import flipped, truncated

_BODY = b'{"model":"named","messages":[{"role":"user","content":"who=evil do=ok"}]}'


def smuggling_forms(path: str, headers: Mapping[str, str], tail: bytes) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of requests of which two servers may read different lengths; `tail` is a request in the body."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", *(f"{name}: {value}" for name, value in headers.items())]
    start = "\r\n".join([*lines, ""]).encode("latin-1")
    length = len(tail) + 5
    forms = {
        "length and chunks": b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n" % length,
        "chunks and length": b"Transfer-Encoding: chunked\r\nContent-Length: %d\r\n" % length,
        "two lengths": b"Content-Length: 0\r\nContent-Length: %d\r\n" % length,
        "a list of lengths": b"Content-Length: 0, %d\r\n" % length,
        "a signed length": b"Content-Length: +%d\r\n" % length,
        "a negative length": b"Content-Length: -1\r\n",
        "a length in hexadecimal": b"Content-Length: 0x10\r\n",
        "a huge length": b"Content-Length: %s\r\n" % (b"9" * 40),
        "xchunked": b"Transfer-Encoding: xchunked\r\n",
        "chunked twice": b"Transfer-Encoding: chunked, chunked\r\n",
        "chunked, identity": b"Transfer-Encoding: chunked, identity\r\n",
        "a folded header": b"Transfer-Encoding:\r\n chunked\r\n",
        "a space before the colon": b"Transfer-Encoding : chunked\r\n",
        "a tab in the name": b"Transfer\tEncoding: chunked\r\n",
        "a bare carriage return": b"X: a\rTransfer-Encoding: chunked\r\n",
        "a NUL in a value": b"X: a\x00b\r\nTransfer-Encoding: chunked\r\n",
    }
    for name, form in forms.items():
        yield name, start + form + b"\r\n" + b"0\r\n\r\n" + tail
    for name, chunks in {
        "a chunk size that overflows": b"ffffffffffffffff1\r\n",
        "a negative chunk size": b"-1\r\n",
        "a chunk size with a letter": b"0g\r\n",
    }.items():
        yield name, start + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + tail


_VALID = (
    b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Api-Key: pv-wrong\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n%s" % (len(_BODY), _BODY),
    b"POST /route HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n"
    % (len(_BODY), _BODY),
)
_METHODS = (
    b"GET",
    b"POST",
    b"PUT",
    b"DELETE",
    b"HEAD",
    b"OPTIONS",
    b"PATCH",
    b"TRACE",
    b"CONNECT",
    b"PRI",
    b"get",
    b"",
)
_TARGETS = (
    b"/healthz",
    b"/v1/models",
    b"/v1/chat/completions",
    b"/v1/messages",
    b"/route",
    b"/metrics",
    b"*",
    b"http://127.0.0.1/healthz",
    b"//healthz",
    b"/%2e%2e/healthz",
    b"/\xff",
    b"",
    b"/" + b"a" * 5_000,
)
_VERSIONS = (b"HTTP/1.1", b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/1.1 ", b"http/1.1", b"HTTP/11", b"")
_LINES = (
    b"Host: 127.0.0.1",
    b"Host: other.example",
    b"Content-Length: 0",
    b"Content-Length: 5",
    b"Content-Length: -1",
    b"Content-Length: 99999999999999999999",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip",
    b"Transfer-Encoding : chunked",
    b"Connection: close",
    b"Connection: upgrade",
    b"Upgrade: h2c",
    b"Upgrade: websocket",
    b"HTTP2-Settings: AAMAAABkAAQAAP__",
    b"Expect: 100-continue",
    b"Expect: x",
    b"Authorization: Bearer x",
    b"Authorization: \xff",
    b"X-Request-Id: a\x01b",
    b"X: " + b"a" * 9_000,
    b" folded",
    b"no colon",
    b": no name",
    b"\x00: nul",
    b"Cookie: a=b",
)
_VALID_LINES = (
    b"Host: 127.0.0.1",
    b"Content-Length: 0",
    b"Connection: close",
    b"Expect: 100-continue",
    b"Accept: */*",
    b"X-Request-Id: r1",
    b"X-Api-Key: pv-wrong",
    b"Cookie: a=b",
)
_ENDS = (b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\r\r\n", b"\x00\r\n")


def fuzz_head(seed: int, number: int) -> list[bytes]:
    """The raw bytes of this number, as the pieces in which they are sent: one head or several, whole or cut."""
    rng = random.Random(f"{seed}:{number}")
    raw = b"".join(_one(rng) for _ in range(rng.choice((1, 1, 1, 1, 2, 5))))
    for _ in range(rng.choice((0, 0, 0, 0, 0, 1, 2, 8))):
        raw = rng.choice(_DAMAGES)(rng, raw)
    cuts = sorted(rng.randrange(len(raw) + 1) for _ in range(rng.choice((0, 0, 0, 1, 2))))
    return [piece for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True) if (piece := raw[start:end])]


def _one(rng: random.Random) -> bytes:
    if rng.random() < 0.25:
        # Valid, so that what comes before or after it on the connection is read, too.
        return rng.choice(_VALID)
    if rng.random() < 0.15:
        forms = list(smuggling_forms("/v1/chat/completions", {}, b"GET /healthz HTTP/1.1\r\n\r\n"))
        return rng.choice(forms)[1]
    space = b" " if rng.random() < 0.95 else rng.choice((b"\t", b"  ", b"", b"\x0b"))
    start = space.join((rng.choice(_METHODS[:3] if rng.random() < 0.7 else _METHODS), rng.choice(_TARGETS)))
    lines = [start + space + (_VERSIONS[0] if rng.random() < 0.8 else rng.choice(_VERSIONS))]
    lines += [b"Host: 127.0.0.1"] * (rng.random() < 0.8)
    choices = _VALID_LINES if rng.random() < 0.6 else _LINES
    lines += [rng.choice(choices) for _ in range(rng.choice((0, 1, 2, 4, 120)))]
    ends = _ENDS[:1] if rng.random() < 0.85 else _ENDS
    head = b"".join(line + rng.choice(ends) for line in lines) + rng.choice(ends)
    return head + (
        rng.choice((b"hello", _BODY, b"5\r\nhello\r\n0\r\n\r\n", b"0\r\nX: y\r\n\r\n")) * (rng.random() < 0.4)
    )


def _flipped(rng: random.Random, raw: bytes) -> bytes:
    return flipped(rng, raw, 1)


def _inserted(rng: random.Random, raw: bytes) -> bytes:
    cut = rng.randrange(len(raw) + 1)
    return (
        raw[:cut] + rng.choice((b"\r", b"\n", b"\x00", b"\xff" * 8, b" ", b":", b"\r\n\r\n", b"a" * 70_000)) + raw[cut:]
    )


def _repeated(rng: random.Random, raw: bytes) -> bytes:
    start = rng.randrange(len(raw) + 1)
    return raw[:start] + raw[start : start + rng.randrange(1, 60)] * rng.choice((2, 10)) + raw[start:]


_DAMAGES = (truncated, _flipped, _flipped, _inserted, _repeated)
