from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.dispatch.bodies.redaction import one_line, redacted

SECRET = "sk-Live/4+xy=Z&9_abcDEF"
ENCODINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "in capitals": str.upper,
    "JSON": json.dumps,
    "JSON of PHP": lambda text: text.replace("/", "\\/"),
    "JSON in JSON": lambda text: json.dumps(json.dumps(text.replace("/", "\\/"))),
    "escapes": lambda text: "".join(f"\\u{ord(character):04x}" for character in text),
    "one escape": lambda text: text.replace("/", "\\u002F"),
    "percent": lambda text: quote(text, safe=""),
    "percent twice": lambda text: quote(quote(text, safe=""), safe=""),
    "percent for all": lambda text: "".join(f"%{ord(character):02x}" for character in text),
    "HTML": html.escape,
    "HTML numbers": lambda text: "".join(f"&#{ord(character)};" for character in text),
    "HTML hexadecimal": lambda text: "".join(f"&#x{ord(character):X};" for character in text),
    "hexadecimal": lambda text: text.encode().hex(),
}


@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
def test_a_secret_is_hidden_in_every_encoding(encode: Callable[[str], str]) -> None:
    body = f"key <{encode(SECRET)}> is bad".encode()
    hidden = redacted(body, (SECRET,), None)
    assert b"[hidden]" in hidden
    assert encode(SECRET).strip('"\\').encode() not in hidden
    assert hidden.startswith(b"key <")
    assert hidden.endswith(b"> is bad")


@given(st.text("ab:", max_size=4), st.text("cd:", max_size=4), st.booleans())
def test_a_secret_is_hidden_within_base64(before: str, after: str, is_for_urls: bool) -> None:
    encode = base64.urlsafe_b64encode if is_for_urls else base64.b64encode
    encoded = encode(f"{before}{SECRET}{after}".encode())
    for body in (encoded, encoded.replace(b"/", b"\\/"), quote(encoded, safe="").encode()):
        assert b"[hidden]" in redacted(body, (SECRET,), None)


def test_the_address_of_an_upstream_is_hidden() -> None:
    url = "http://10.1.2.3:8000/v1"
    for body in (b"at HTTP:\\/\\/10.1.2.3:8000\\/v1", b"at 10.1.2.3:8000", b"at 10.1.2.3", b"at 10%2e1.2.3"):
        assert redacted(body, (), url) == b"at [hidden]"


def test_other_text_stays_as_it_is() -> None:
    body = b'{"error": {"message": "the field `n` is \\u00fc too large, see https://docs.example.org/a%2Fb"}}'
    assert redacted(body, (SECRET, "short"), "http://10.1.2.3/v1") == body


def test_a_line_of_a_log_has_no_control_characters_no_query_and_a_bound() -> None:
    line = one_line("image http://h.example/x?token=SECRET\nFAKE LOG LINE\x1b[31m\u2028" + "x" * 5000)
    assert "SECRET" not in line
    assert line.isprintable()
    assert len(line) <= 301


@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
def test_a_part_of_a_secret_is_no_secret(encode: Callable[[str], str]) -> None:
    for part in (SECRET[:-1], SECRET[1:], SECRET[:6]):
        for body in (encode(part).encode(), f"a % and \\ & {encode(part)}".encode()):
            assert redacted(body, (SECRET,), None) == body
