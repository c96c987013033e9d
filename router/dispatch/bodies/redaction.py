"""Hide secrets in what upstreams send back, however their characters are encoded."""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Iterable

from router.formats.net import host_of
from router.formats.text import late_pattern

_MIN_SECRET_CHARACTERS = 6
_HIDDEN = b"[hidden]"
_ENTITIES = {"&": "amp", '"': "quot", "'": "apos", "<": "lt", ">": "gt", "/": "sol", "+": "plus", "=": "equals"}
_CONTROL = late_pattern(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_QUERY = late_pattern(r"(\b[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s?#\"']*)[?#][^\s\"']*")
_MAX_LINE_CHARACTERS = 300


def redacted(text: bytes, secrets: Iterable[str], url: str | None) -> bytes:
    """`text` without the secrets, the URL and its host.

    Found in any case, with characters escaped as in JSON (`\\/`, `\\u002f`), URLs (`%2F`, also twice) and HTML
    (`&#47;`), and secrets in base64 and hexadecimal digits, also as a part of a longer text.
    """
    authority = url.partition("://")[2].partition("/")[0] if url else ""
    for secret in secrets:
        # Shorter strings are not secret, and occur in ordinary words.
        if len(secret) >= _MIN_SECRET_CHARACTERS:
            text = _secret(secret).sub(_HIDDEN, text)
    for place in (url, authority, host_of(url)):
        if place and len(place) >= _MIN_SECRET_CHARACTERS:
            text = _place(place).sub(_HIDDEN, text)
    return text


def one_line(text: str) -> str:
    """A text of a client or an upstream as a log may contain it: one line of bounded length, without control characters
    and without the queries of URLs, which contain tokens.
    """
    kept = _QUERY.sub(r"\1?…", text[: 4 * _MAX_LINE_CHARACTERS])
    kept = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", kept)
    return kept if len(kept) <= _MAX_LINE_CHARACTERS else f"{kept[:_MAX_LINE_CHARACTERS]}…"


@functools.lru_cache(maxsize=256)
def _secret(secret: str) -> re.Pattern[bytes]:
    raw = secret.encode()
    forms = [f"(?i:{_escaped(secret)})", f"(?i:{_escaped(raw.hex())})"]
    for offset in range(3):
        # The first and last characters depend on what stands around the secret.
        encoded = base64.b64encode(bytes(offset) + raw).decode().rstrip("=")
        whole = encoded[(0, 2, 3)[offset] : len(encoded) - (1 if (offset + len(raw)) % 3 else 0)]
        if len(whole) >= _MIN_SECRET_CHARACTERS:
            forms += [_escaped(whole), _escaped(whole.replace("+", "-").replace("/", "_"))]
    return re.compile("|".join(dict.fromkeys(forms)).encode())


@functools.lru_cache(maxsize=256)
def _place(place: str) -> re.Pattern[bytes]:
    return re.compile(f"(?i:{_escaped(place)})".encode())


def _escaped(text: str) -> str:
    """A pattern of `text` in which every character may be escaped."""
    return "".join(map(_character, text))


@functools.lru_cache(maxsize=1024)
def _character(character: str) -> str:
    code, encoded = ord(character), character.encode("utf-8", "surrogatepass")
    forms = [
        rf"\\*{re.escape(character)}",
        rf"\\+(?:u\{{?0*{code:x}\}}?|x{code:02x})",
        "".join(f"%(?:25)*{byte:02x}" for byte in encoded),
        rf"&(?:amp;)*#(?:x0*{code:x}|0*{code});?",
    ]
    if character in _ENTITIES:
        forms.append(f"&(?:amp;)*{_ENTITIES[character]};")
    return f"(?:{'|'.join(forms)})"
