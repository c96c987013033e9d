"""Mutated requests. The same seed and number give the same request on every machine."""

from __future__ import annotations

import contextlib
import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct

from tests.fuzz.bodies import BODIES
from tests.fuzz.damage import flipped, truncated

# No server listens there: a gateway that uses this URL cannot respond.
FORBIDDEN_URL = "http://127.0.0.1:9/v1"
CLIENT_SECRET = "sk-of-the-client-0123456789"
_LARGEST = 17 * 1024 * 1024
_LARGEST_REPEATED = 200_000
_DEEP = (3, 60, 500, 5_000, 100_000)


class FuzzRequest(Struct, frozen=True):
    """One request. `path` is the raw request target."""

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
    """A piece of JSON text, valid or not."""

    text: str


class _Pairs(Struct, frozen=True):
    """An object that may have a key twice."""

    pairs: tuple[tuple[str, Any], ...]


def fuzz_request(seed: int, number: int) -> FuzzRequest:
    """The request of this number."""
    rng = random.Random(f"{seed}:{number}")
    path = rng.choice(list(BODIES))
    body = mutated_json(rng, rng.choice(BODIES[path]))
    if rng.random() < 0.2:
        body = rng.choice(_DAMAGES)(rng, body)
    if rng.random() < 0.05:
        path = rng.choice(list(BODIES))
    method = "POST" if rng.random() < 0.97 else rng.choice(("GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"))
    return FuzzRequest(number, method, _request_target(rng, path), tuple(_headers(rng, body)), body)


def mutated_json(rng: random.Random, value: Any) -> bytes:
    """`value` as JSON after none, one or several mutations."""
    tree: Any = json.loads(json.dumps(value))
    for _ in range(rng.choice((0, 1, 1, 2, 3, 6))):
        tree = rng.choice(_MUTATIONS)(rng, tree)
    return _write(tree)


# --- mutations of the JSON value


def _locations(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every container of the tree with every key in it."""
    stack = [tree]
    while stack:
        node = stack.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        for key in keys:
            yield node, key
            stack.append(node[key])


def _any_location(rng: random.Random, tree: Any) -> tuple[Any, Any] | None:
    locations = list(_locations(tree))
    return rng.choice(locations) if locations else None


def _replaced(rng: random.Random, tree: Any) -> Any:
    location = _any_location(rng, tree)
    if location is None or rng.random() < 0.03:
        return _odd_value(rng)
    node, key = location
    node[key] = _odd_value(rng)
    return tree


def _removed(rng: random.Random, tree: Any) -> Any:
    if location := _any_location(rng, tree):
        node, key = location
        del node[key]
    return tree


def _duplicated_key(rng: random.Random, tree: Any) -> Any:
    objects = [node for node, _ in _locations(tree) if isinstance(node, dict)]
    if not objects:
        return tree
    node = rng.choice(objects)
    key = rng.choice(list(node))
    pairs = _Pairs((*node.items(), (key, _odd_value(rng))))
    if node is tree:
        return pairs
    for parent, name in list(_locations(tree)):
        if parent[name] is node:
            parent[name] = pairs
            break
    return tree


def _renamed(rng: random.Random, tree: Any) -> Any:
    location = _any_location(rng, tree)
    if location and isinstance(location[0], dict):
        node, key = location
        node[rng.choice((key.upper(), key + " ", "", "\x00", "__proto__", _text(rng)))] = node.pop(key)
    return tree


def _added(rng: random.Random, tree: Any) -> Any:
    if isinstance(tree, dict):
        tree[rng.choice(list(_FIELDS))] = _field_value(rng)
    return tree


def _nested(rng: random.Random, tree: Any) -> Any:
    depth = rng.choice(_DEEP)
    opening, closing = rng.choice((("[", "]"), ('{"a":', "}")))
    deep = _Raw(opening * depth + "1" + closing * depth)
    location = _any_location(rng, tree)
    if location is None:
        return deep
    node, key = location
    node[key] = deep
    return tree


def _repeated(rng: random.Random, tree: Any) -> Any:
    lists = [(node, key) for node, key in _locations(tree) if isinstance(node[key], list) and 0 < len(node[key]) < 50]
    if lists:
        node, key = rng.choice(lists)
        times = min(rng.choice((2, 50, 2_000)), _LARGEST_REPEATED // max(len(_write(node[key])), 1))
        # Copies, so that later mutations change only one of them.
        node[key] = [copy.deepcopy(item) for _ in range(max(times, 1)) for item in node[key]]
    return tree


def _spliced(rng: random.Random, tree: Any) -> Any:
    donor = json.loads(json.dumps(rng.choice(rng.choice(list(BODIES.values())))))
    target, source = _any_location(rng, tree), _any_location(rng, donor)
    if target and source:
        target[0][target[1]] = source[0][source[1]]
    return tree


def _renamed_model(rng: random.Random, tree: Any) -> Any:
    if isinstance(tree, dict):
        tree["model"] = _model(rng)
    return tree


def _with_flags(rng: random.Random, tree: Any) -> Any:
    if isinstance(tree, dict):
        where = rng.choice(("route", "metadata"))
        tree[where] = {"flags" if where == "route" else "route_flags": _flags(rng)}
        if rng.random() < 0.2:
            tree[where][rng.choice(("session", "policy", "odd"))] = _odd_value(rng)
    return tree


_MUTATIONS: tuple[Callable[[random.Random, Any], Any], ...] = (
    _replaced,
    _replaced,
    _replaced,
    _removed,
    _removed,
    _duplicated_key,
    _renamed,
    _added,
    _added,
    _nested,
    _repeated,
    _spliced,
    _renamed_model,
    _with_flags,
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


def _field_value(rng: random.Random) -> Any:
    return rng.choice((FORBIDDEN_URL, CLIENT_SECRET, _odd_value(rng), _odd_value(rng), {"x-api-key": CLIENT_SECRET}))


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
    FORBIDDEN_URL,
)


def _odd_value(rng: random.Random) -> Any:
    return rng.choice(_ODD_VALUES)(rng)


def _odd_list(rng: random.Random) -> Any:
    return [_odd_value(rng) for _ in range(rng.randrange(4))]


def _odd_object(rng: random.Random) -> Any:
    return {_text(rng)[:50]: _odd_value(rng) for _ in range(rng.randrange(4))}


def _text(rng: random.Random) -> str:
    if rng.random() < 0.7:
        return rng.choice(_TEXTS)
    return "".join(chr(rng.choice((rng.randrange(32, 127), rng.randrange(0x10FFFF)))) for _ in range(rng.randrange(30)))


_SHAPES: tuple[Any, ...] = ([], {}, [[]], [{}], [None], {"type": "text"}, {"type": None}, {"type": []}, {"type": {}})
_WORDS = ("user", "text", "function", "tool", "image", "input_text", "json_schema", "stop", "ephemeral")
_ODD_VALUES: tuple[Callable[[random.Random], Any], ...] = (
    lambda rng: rng.choice((None, True, False)),
    lambda rng: _Raw(rng.choice(_NUMBERS)),
    lambda rng: _Raw(rng.choice(_NOT_JSON)),
    lambda rng: rng.randrange(-(2**70), 2**70),
    _text,
    _text,
    _odd_list,
    _odd_object,
    # A copy, since later mutations change it.
    lambda rng: copy.deepcopy(rng.choice(_SHAPES)),
    lambda rng: rng.choice(_WORDS),
)


_FLAG_WORDS = (
    *("size", "context", "price", "latency", "tag", "provider", "quality", "cheapest", "smallest", "fastest", "beta"),
    *("<", "<=", ">", "=", "!=", "!", "..", ".lt=", ",", ",,", "*", "*0.5", "*-1", "*1e999", "7B", "0.1$", "250ms"),
    *("(", ")", "[", "]", " ", "\t", "\n", "é", "\x00", "\ud83d", "9" * 400, "openai", "x", "-", "%", "nan", "inf"),
)


def _flags(rng: random.Random) -> str:
    if rng.random() < 0.3:
        return rng.choice(
            ("cheapest", "size<7B", "!beta", "cheapest*0.5,context>1k", "tag=beta", "," * 3_000, "!" * 3_000)
        )
    return "".join(rng.choice(_FLAG_WORDS) for _ in range(rng.randrange(12)))


def _model(rng: random.Random) -> Any:
    flags = _flags(rng)
    return rng.choice(
        (
            f"auto[{flags}]",
            f"auto/{flags}",
            f"auto/default[{flags}]",
            f"auto/{_text(rng)}",
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
            _odd_value(rng),
        )
    )


# --- the body as bytes


def _write(tree: Any) -> bytes:
    # The encoder is fast, but rejects some of these values, and deep nesting exceeds its recursion.
    with contextlib.suppress(TypeError, ValueError, RecursionError):
        return json.dumps(tree, separators=(",", ":")).encode()
    pieces: list[str] = []
    stack: list[Any] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, _Raw):
            pieces.append(node.text)
        elif isinstance(node, dict | _Pairs):
            pairs = list(node.items()) if isinstance(node, dict) else list(node.pairs)
            stack.append(_Raw("}"))
            for position in range(len(pairs) - 1, -1, -1):
                key, value = pairs[position]
                stack += [value, _Raw(("," if position else "") + json.dumps(key) + ":")]
            stack.append(_Raw("{"))
        elif isinstance(node, list):
            stack.append(_Raw("]"))
            for position in range(len(node) - 1, -1, -1):
                stack += [node[position], _Raw("," if position else "")]
            stack.append(_Raw("["))
        else:
            pieces.append(json.dumps(node))
    return "".join(pieces).encode()


def _flipped(rng: random.Random, body: bytes) -> bytes:
    return flipped(rng, body, rng.randrange(1, 6))


def _inserted(rng: random.Random, body: bytes) -> bytes:
    cut = rng.randrange(len(body) + 1)
    inserted = rng.choice((b"\xff\xfe", b"\xed\xa0\x80", b"\x00", b"//x\n", b"\xc0\xaf", b"\\u12"))
    return body[:cut] + inserted + body[cut:]


def _recoded(rng: random.Random, body: bytes) -> bytes:
    return body.decode("latin-1").encode(rng.choice(("utf-16", "utf-16-le", "utf-32", "utf-7", "utf-8-sig")))


def _repeated_body(_: random.Random, body: bytes) -> bytes:
    return body + b"\n" + body


def _replaced_body(rng: random.Random, _: bytes) -> bytes:
    return rng.choice(
        (b"", b" ", b"null", b"[]", b'"x"', b"0", b"model=auto&prompt=x", b"--x\r\n\r\n", b"\x1f\x8b\x08\x00")
    )


def _padded(rng: random.Random, body: bytes) -> bytes:
    # Rare, since it is slow.
    return body + b" " * (_LARGEST if rng.random() < 0.01 else 1_000)


_DAMAGES: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    truncated,
    truncated,
    _flipped,
    _inserted,
    _recoded,
    _repeated_body,
    _replaced_body,
    _padded,
)


# --- the path and the headers


def _request_target(rng: random.Random, path: str) -> str:
    prefix = rng.choice(("/v1", "/v1", "/v1", ""))
    if path == "/route":
        prefix = ""
    whole = prefix + path
    if rng.random() < 0.05:
        whole += rng.choice(("?beta=true", "?", "?api_base=" + FORBIDDEN_URL, "/", "#x"))
    if rng.random() < 0.02:
        whole = rng.choice(
            (
                "/",
                "/healthz",
                "/readyz",
                "/metrics",
                "/openapi.json",
                "/v1/models",
                "/v1/models/"
                + rng.choice(("one", "auto", "%00", "%ff", "..%2f..%2fetc", "a" * 3_000, "auto%5Bcheapest%5D")),
                "/v1//chat/completions",
                "/v1/v1/chat/completions",
                "/%2e%2e/v1/models",
                "//evil.example/v1/chat/completions",
            )
        )
    return whole


def _headers(rng: random.Random, body: bytes) -> Iterator[tuple[str, str]]:
    yield "host", "127.0.0.1"
    yield "content-length", str(len(body))
    if rng.random() < 0.9:
        yield "content-type", "application/json"
    for _ in range(rng.choice((0, 0, 0, 1, 2, 5))):
        name, values = rng.choice(_HEADERS)
        yield name, rng.choice(values) if values else _header_text(rng)


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
    ("x-route-batch", ("true", "false", "yes", "\xe9", "")),
    ("traceparent", ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-0-0-0", "\xe9")),
    ("openai-organization", ("org-x",)),
    ("x-stainless-retry-count", ("2", "x")),
    ("x-forwarded-for", ("1.2.3.4", "\xe9")),
    ("forwarded", ("for=x;host=y",)),
    ("cookie", ("a=b", "\xe9")),
    ("x-litellm-api-base", (FORBIDDEN_URL,)),
    ("x-portkey-custom-host", (FORBIDDEN_URL,)),
    ("x-odd", ()),
)


def _header_text(rng: random.Random) -> str:
    # Every character that a header may have: no line breaks and no NUL, which every HTTP server rejects.
    return "".join(chr(rng.choice((9, *range(32, 127), *range(128, 256)))) for _ in range(rng.randrange(60))).strip()
