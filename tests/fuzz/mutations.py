"""Requests that were valid once. The same seed and number give the same request, on every machine."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct

from tests.fuzz.bodies import BODIES

# Nobody listens there: a gateway that honours it cannot answer.
FORBIDDEN_PLACE = "http://127.0.0.1:9/v1"
CLIENT_SECRET = "sk-of-the-client-0123456789"
_LARGEST = 17 * 1024 * 1024
_LARGEST_REPEATED = 200_000
_DEEP = (3, 60, 500, 5_000, 100_000)


class Shot(Struct, frozen=True):
    """One request. `path` is as it stands on the wire."""

    number: int
    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def raw(self) -> bytes:
        """The bytes to send."""
        lines = [f"{self.method} {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in self.headers)]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


class _Raw(Struct, frozen=True):
    """A piece of JSON text, right or wrong."""

    text: str


class _Pairs(Struct, frozen=True):
    """An object that may hold a key twice."""

    pairs: tuple[tuple[str, Any], ...]


def shot(seed: int, number: int) -> Shot:
    """The request of this number."""
    dice = random.Random(f"{seed}:{number}")
    path = dice.choice(list(BODIES))
    tree: Any = json.loads(json.dumps(dice.choice(BODIES[path])))
    for _ in range(dice.choice((0, 1, 1, 2, 3, 6))):
        tree = dice.choice(_MUTATIONS)(dice, tree)
    body = _write(tree)
    if dice.random() < 0.2:
        body = dice.choice(_DAMAGES)(dice, body)
    if dice.random() < 0.05:
        path = dice.choice(list(BODIES))
    method = "POST" if dice.random() < 0.97 else dice.choice(("GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"))
    return Shot(number, method, _place(dice, path), tuple(_headers(dice, body)), body)


# --- the tree


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every container of the tree with each key in it."""
    todo = [tree]
    while todo:
        node = todo.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        for key in keys:
            yield node, key
            todo.append(node[key])


def _any_place(dice: random.Random, tree: Any) -> tuple[Any, Any] | None:
    places = list(_places(tree))
    return dice.choice(places) if places else None


def _replaced(dice: random.Random, tree: Any) -> Any:
    place = _any_place(dice, tree)
    if place is None or dice.random() < 0.03:
        return _odd(dice)
    node, key = place
    node[key] = _odd(dice)
    return tree


def _removed(dice: random.Random, tree: Any) -> Any:
    if place := _any_place(dice, tree):
        node, key = place
        del node[key]
    return tree


def _doubled(dice: random.Random, tree: Any) -> Any:
    objects = [node for node, _ in _places(tree) if isinstance(node, dict)]
    if not objects:
        return tree
    node = dice.choice(objects)
    key = dice.choice(list(node))
    pairs = _Pairs((*node.items(), (key, _odd(dice))))
    if node is tree:
        return pairs
    for holder, name in list(_places(tree)):
        if holder[name] is node:
            holder[name] = pairs
            break
    return tree


def _renamed(dice: random.Random, tree: Any) -> Any:
    place = _any_place(dice, tree)
    if place and isinstance(place[0], dict):
        node, key = place
        node[dice.choice((key.upper(), key + " ", "", "\x00", "__proto__", _text(dice)))] = node.pop(key)
    return tree


def _added(dice: random.Random, tree: Any) -> Any:
    if isinstance(tree, dict):
        tree[dice.choice(list(_FIELDS))] = _field(dice)
    return tree


def _nested(dice: random.Random, tree: Any) -> Any:
    depth = dice.choice(_DEEP)
    opening, closing = dice.choice((("[", "]"), ('{"a":', "}")))
    deep = _Raw(opening * depth + "1" + closing * depth)
    place = _any_place(dice, tree)
    if place is None:
        return deep
    node, key = place
    node[key] = deep
    return tree


def _repeated(dice: random.Random, tree: Any) -> Any:
    lists = [(node, key) for node, key in _places(tree) if isinstance(node[key], list) and 0 < len(node[key]) < 50]
    if lists:
        node, key = dice.choice(lists)
        times = min(dice.choice((2, 50, 2_000)), _LARGEST_REPEATED // max(len(_write(node[key])), 1))
        # Copies, so that what grows later grows once.
        node[key] = [copy.deepcopy(each) for _ in range(max(times, 1)) for each in node[key]]
    return tree


def _spliced(dice: random.Random, tree: Any) -> Any:
    donor = json.loads(json.dumps(dice.choice(dice.choice(list(BODIES.values())))))
    here, there = _any_place(dice, tree), _any_place(dice, donor)
    if here and there:
        here[0][here[1]] = there[0][there[1]]
    return tree


def _renamed_model(dice: random.Random, tree: Any) -> Any:
    if isinstance(tree, dict):
        tree["model"] = _model(dice)
    return tree


def _flagged(dice: random.Random, tree: Any) -> Any:
    if isinstance(tree, dict):
        where = dice.choice(("route", "metadata"))
        tree[where] = {"flags" if where == "route" else "route_flags": _flags(dice)}
        if dice.random() < 0.2:
            tree[where][dice.choice(("session", "policy", "odd"))] = _odd(dice)
    return tree


_MUTATIONS: tuple[Callable[[random.Random, Any], Any], ...] = (
    _replaced,
    _replaced,
    _replaced,
    _removed,
    _removed,
    _doubled,
    _renamed,
    _added,
    _added,
    _nested,
    _repeated,
    _spliced,
    _renamed_model,
    _flagged,
)

_FIELDS = (
    "api_base",
    "base_url",
    "api_key",
    "extra_headers",
    "extra_body",
    "headers",
    "custom_llm_provider",
    "mock_response",
    "callbacks",
    "timeout",
    "num_retries",
    "fallbacks",
    "stream",
    "stream_options",
    "route",
    "metadata",
    "tools",
    "functions",
    "function_call",
    "n",
    "max_tokens",
    "max_completion_tokens",
    "response_format",
    "system",
    "input",
    "prompt",
    "messages",
    "thinking",
    "audio",
    "modalities",
    "prediction",
    "store",
    "__class__",
    "novel",
)


def _field(dice: random.Random) -> Any:
    return dice.choice((FORBIDDEN_PLACE, CLIENT_SECRET, _odd(dice), _odd(dice), {"x-api-key": CLIENT_SECRET}))


# --- odd values

_NUMBERS = ("0", "-0", "-1", "1", "1e400", "-1e400", "1e-400", "9" * 5_000, "2147483648", "9223372036854775808", "0.1")
_NOT_JSON = (
    "NaN",
    "Infinity",
    "-Infinity",
    "undefined",
    "01",
    "+1",
    ".5",
    "1.",
    "0x10",
    "True",
    "'a'",
    "{,}",
    "[1,]",
    "",
)
_TEXTS = (
    "",
    " ",
    "\x00",
    "\ud83d",
    "\udc00\ud800",
    "cut \ud83d",
    "\U0001f600" * 50,
    "é",
    "é" * 1_000,
    "\u202e\u200b\ufeff",
    "ﷺ" * 200,
    "a" * 100_000,
    "\n" * 5_000,
    "../../etc/passwd",
    "'; DROP TABLE records; --",
    "{{7*7}}${jndi:ldap://x}",
    "%s%n%x",
    "<script>",
    "data: [DONE]\n\n",
    "\r\nx-injected: 1",
    "[Flag: cheapest]",
    "[Flag: size<7B, nonsense(]",
    "[Flag:" * 300,
    "[" * 3_000,
    "<|endoftext|><|im_start|>system",
    "null",
    "true",
    "auto",
    FORBIDDEN_PLACE,
)


def _odd(dice: random.Random) -> Any:
    return dice.choice(_ODD)(dice)


def _many(dice: random.Random) -> Any:
    return [_odd(dice) for _ in range(dice.randrange(4))]


def _named(dice: random.Random) -> Any:
    return {_text(dice)[:50]: _odd(dice) for _ in range(dice.randrange(4))}


def _text(dice: random.Random) -> str:
    if dice.random() < 0.7:
        return dice.choice(_TEXTS)
    return "".join(
        chr(dice.choice((dice.randrange(32, 127), dice.randrange(0x10FFFF)))) for _ in range(dice.randrange(30))
    )


_SHAPES: tuple[Any, ...] = ([], {}, [[]], [{}], [None], {"type": "text"}, {"type": None}, {"type": []}, {"type": {}})
_WORDS = ("user", "text", "function", "tool", "image", "input_text", "json_schema", "stop", "ephemeral")
_ODD: tuple[Callable[[random.Random], Any], ...] = (
    lambda dice: dice.choice((None, True, False)),
    lambda dice: _Raw(dice.choice(_NUMBERS)),
    lambda dice: _Raw(dice.choice(_NOT_JSON)),
    lambda dice: dice.randrange(-(2**70), 2**70),
    _text,
    _text,
    _many,
    _named,
    # A copy, since later mutations change it.
    lambda dice: copy.deepcopy(dice.choice(_SHAPES)),
    lambda dice: dice.choice(_WORDS),
)


_FLAG_WORDS = (
    *("size", "context", "price", "latency", "tag", "provider", "quality", "cheapest", "smallest", "fastest", "beta"),
    *("<", "<=", ">", "=", "!=", "!", "..", ".lt=", ",", ",,", "*", "*0.5", "*-1", "*1e999", "7B", "0.1$", "250ms"),
    *("(", ")", "[", "]", " ", "\t", "\n", "é", "\x00", "\ud83d", "9" * 400, "openai", "x", "-", "%", "nan", "inf"),
)


def _flags(dice: random.Random) -> str:
    if dice.random() < 0.3:
        return dice.choice(
            ("cheapest", "size<7B", "!beta", "cheapest*0.5,context>1k", "tag=beta", "," * 3_000, "!" * 3_000)
        )
    return "".join(dice.choice(_FLAG_WORDS) for _ in range(dice.randrange(12)))


def _model(dice: random.Random) -> Any:
    flags = _flags(dice)
    return dice.choice(
        (
            f"auto[{flags}]",
            f"auto/{flags}",
            f"auto/default[{flags}]",
            f"auto/{_text(dice)}",
            f"one[{flags}]",
            "auto/best",
            "AUTO",
            "auto/",
            "auto[",
            "auto]",
            "auto[[]]",
            "two",
            "gpt-4o",
            "../one",
            _odd(dice),
        )
    )


# --- the text


def _write(tree: Any) -> bytes:
    pieces: list[str] = []
    # By hand and without recursion: what json.dumps refuses is the point.
    todo: list[Any] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, _Raw):
            pieces.append(node.text)
        elif isinstance(node, dict | _Pairs):
            pairs = list(node.items()) if isinstance(node, dict) else list(node.pairs)
            todo.append(_Raw("}"))
            for at in range(len(pairs) - 1, -1, -1):
                key, value = pairs[at]
                todo += [value, _Raw(("," if at else "") + json.dumps(key) + ":")]
            todo.append(_Raw("{"))
        elif isinstance(node, list):
            todo.append(_Raw("]"))
            for at in range(len(node) - 1, -1, -1):
                todo += [node[at], _Raw("," if at else "")]
            todo.append(_Raw("["))
        else:
            pieces.append(json.dumps(node))
    return "".join(pieces).encode()


def _truncated(dice: random.Random, body: bytes) -> bytes:
    return body[: dice.randrange(len(body) + 1)]


def _flipped(dice: random.Random, body: bytes) -> bytes:
    damaged = bytearray(body)
    for _ in range(min(dice.randrange(1, 6), len(damaged))):
        damaged[dice.randrange(len(damaged))] = dice.randrange(256)
    return bytes(damaged)


def _inserted(dice: random.Random, body: bytes) -> bytes:
    at = dice.randrange(len(body) + 1)
    return body[:at] + dice.choice((b"\xff\xfe", b"\xed\xa0\x80", b"\x00", b"//x\n", b"\xc0\xaf", b"\\u12")) + body[at:]


def _recoded(dice: random.Random, body: bytes) -> bytes:
    return body.decode("latin-1").encode(dice.choice(("utf-16", "utf-16-le", "utf-32", "utf-7", "utf-8-sig")))


def _multiplied(_: random.Random, body: bytes) -> bytes:
    return body + b"\n" + body


def _other(dice: random.Random, _: bytes) -> bytes:
    return dice.choice(
        (b"", b" ", b"null", b"[]", b'"x"', b"0", b"model=auto&prompt=x", b"--x\r\n\r\n", b"\x1f\x8b\x08\x00")
    )


def _filled(dice: random.Random, body: bytes) -> bytes:
    # Rare, since it takes long.
    return body + b" " * (_LARGEST if dice.random() < 0.01 else 1_000)


_DAMAGES: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    _truncated,
    _truncated,
    _flipped,
    _inserted,
    _recoded,
    _multiplied,
    _other,
    _filled,
)


# --- the path and the headers


def _place(dice: random.Random, path: str) -> str:
    prefix = dice.choice(("/v1", "/v1", "/v1", ""))
    if path == "/route":
        prefix = ""
    whole = prefix + path
    if dice.random() < 0.05:
        whole += dice.choice(("?beta=true", "?", "?api_base=" + FORBIDDEN_PLACE, "/", "#x"))
    if dice.random() < 0.02:
        whole = dice.choice(
            (
                "/",
                "/healthz",
                "/readyz",
                "/metrics",
                "/openapi.json",
                "/v1/models",
                "/v1/models/"
                + dice.choice(("one", "auto", "%00", "%ff", "..%2f..%2fetc", "a" * 3_000, "auto%5Bcheapest%5D")),
                "/v1//chat/completions",
                "/v1/v1/chat/completions",
                "/%2e%2e/v1/models",
                "//evil.example/v1/chat/completions",
            )
        )
    return whole


def _headers(dice: random.Random, body: bytes) -> Iterator[tuple[str, str]]:
    yield "host", "127.0.0.1"
    yield "content-length", str(len(body))
    if dice.random() < 0.9:
        yield "content-type", "application/json"
    for _ in range(dice.choice((0, 0, 0, 1, 2, 5))):
        name, values = dice.choice(_HEADERS)
        yield name, dice.choice(values) if values else _header_text(dice)


_HEADERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("content-type", ("text/plain", "multipart/form-data; boundary=x", "application/json; charset=utf-16", "", "\xff")),
    ("content-encoding", ("gzip", "br", "identity", "x")),
    ("accept", ("text/html", "text/event-stream", "*/*;q=0", "")),
    ("accept-encoding", ("gzip, br", "*;q=0")),
    ("authorization", (f"Bearer {CLIENT_SECRET}", "Bearer", "Basic eDp5", "\xe9", "Bearer " + "a" * 10_000)),
    ("x-api-key", (CLIENT_SECRET, "", "\xe9")),
    ("anthropic-version", ("2023-06-01", "9999", "\xe9", "")),
    ("anthropic-beta", ("a,b,c", "\xe9")),
    ("x-request-id", ("mine-1", "a b", "\xe9", "a" * 500, "")),
    ("x-route-flags", ("cheapest", "size<", "!" * 2_500, "\xe9", "tag=\t", "[", "")),
    ("x-route-session", ("s1", "\xe9", "a" * 5_000, "")),
    ("x-route-policy", ("best", "nothing", "\xe9")),
    ("traceparent", ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-0-0-0", "\xe9")),
    ("openai-organization", ("org-x",)),
    ("x-stainless-retry-count", ("2", "x")),
    ("x-forwarded-for", ("1.2.3.4", "\xe9")),
    ("forwarded", ("for=x;host=y",)),
    ("cookie", ("a=b", "\xe9")),
    ("x-litellm-api-base", (FORBIDDEN_PLACE,)),
    ("x-portkey-custom-host", (FORBIDDEN_PLACE,)),
    ("x-odd", ()),
)


def _header_text(dice: random.Random) -> str:
    # Whatever a header may hold: neither line breaks nor NUL, which no HTTP server reads further.
    return "".join(chr(dice.choice((9, *range(32, 127), *range(128, 256)))) for _ in range(dice.randrange(60))).strip()
