"""Hide secrets in what upstreams send back, however their characters are encoded."""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Callable, Iterable

from msgspec import Struct

from router.formats.net import host_of
from router.formats.text import late_pattern

_MIN_SECRET_CHARACTERS = 6
_HIDDEN = b"[hidden]"
_ESCAPE_MARKS = (b"\\", b"%", b"&")
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
    has_escapes = any(mark in text for mark in _ESCAPE_MARKS)
    for secret in secrets:
        # Shorter strings are not secret, and occur in ordinary words.
        if len(secret) >= _MIN_SECRET_CHARACTERS:
            text = _secret(secret).hidden_in(text, has_escapes)
    for place in (url, authority, host_of(url)):
        if place and len(place) >= _MIN_SECRET_CHARACTERS:
            text = _place(place).hidden_in(text, has_escapes)
    return text


def one_line(text: str) -> str:
    """A text of a client or an upstream as a log may contain it: one line of bounded length, without control characters
    and without the queries of URLs, which contain tokens.
    """
    kept = _QUERY.sub(r"\1?…", text[: 4 * _MAX_LINE_CHARACTERS])
    kept = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", kept)
    return kept if len(kept) <= _MAX_LINE_CHARACTERS else f"{kept[:_MAX_LINE_CHARACTERS]}…"


class _Form(Struct, frozen=True):
    """A text to hide, as it may be written."""

    text: str
    any_case: bool = True


class _Hider:
    """Hides the forms of one secret or place.

    A pattern with all escapes takes up to 0.2 s to compile, while all other requests wait. It is needed only where the
    beginning of a form is found, which servers, and keys of a provider, have in common.
    """

    def __init__(self, *forms: _Form) -> None:
        self._forms = forms

    def hidden_in(self, text: bytes, has_escapes: bool) -> bytes:
        """`text` without the forms; `has_escapes`: whether any of its characters may be escaped."""
        if not has_escapes:
            return self._plain.sub(_HIDDEN, text)
        return text if self._beginning.search(text) is None else self._escaped.sub(_HIDDEN, text)

    @functools.cached_property
    def _plain(self) -> re.Pattern[bytes]:
        return _pattern(self._forms, re.escape)

    @functools.cached_property
    def _escaped(self) -> re.Pattern[bytes]:
        return _pattern(self._forms, _escaped)

    @functools.cached_property
    def _beginning(self) -> re.Pattern[bytes]:
        beginnings = (_Form(form.text[:_MIN_SECRET_CHARACTERS], form.any_case) for form in self._forms)
        return _pattern(tuple(beginnings), _escaped)


@functools.lru_cache(maxsize=256)
def _place(place: str) -> _Hider:
    return _Hider(_Form(place))


@functools.lru_cache(maxsize=256)
def _secret(secret: str) -> _Hider:
    """Of the secret, also in hexadecimal digits and base64."""
    raw = secret.encode()
    forms = [_Form(secret), _Form(raw.hex())]
    for offset in range(3):
        # The first and last characters depend on what stands around the secret.
        encoded = base64.b64encode(bytes(offset) + raw).decode().rstrip("=")
        whole = encoded[(0, 2, 3)[offset] : len(encoded) - (1 if (offset + len(raw)) % 3 else 0)]
        if len(whole) >= _MIN_SECRET_CHARACTERS:
            forms += [_Form(whole, any_case=False), _Form(whole.replace("+", "-").replace("/", "_"), any_case=False)]
    return _Hider(*dict.fromkeys(forms))


@functools.lru_cache(maxsize=64)
def _pattern(forms: tuple[_Form, ...], written: Callable[[str], str]) -> re.Pattern[bytes]:
    """A pattern of the forms, each `written` so."""
    alternatives = [f"(?i:{written(form.text)})" if form.any_case else written(form.text) for form in forms]
    return re.compile("|".join(alternatives).encode())


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
