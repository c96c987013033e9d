"""The usual events of chat streams, recognised by their bytes, mean what they mean decoded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router.dispatch import EventStream, Timeouts
from router.dispatch.stream import Source
from router.errors import UpstreamError
from router.types import Usage
from router.wire.protocols import CHAT, WireProtocol
from router.wire.streams.plain_events import CHAT_EVENTS, FINISHES, IGNORED
from router.wire.usage.vocabularies import COUNTS, HOLDERS, TIER_HOLDERS, VOCABULARIES

DECODING = msgspec.structs.replace(CHAT, plain=None)
DONE = b"data: [DONE]\n\n"

VLLM = '"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"m"'
OPENAI = f'{VLLM},"service_tier":"default","system_fingerprint":"fp_1"'
OPENAI_USAGE = (
    '{"prompt_tokens":19,"completion_tokens":9,"total_tokens":28,"prompt_tokens_details":{"cached_tokens":4,'
    '"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":3,"audio_tokens":0}}'
)
# What servers write, by the group that names it.
WRITTEN = {
    "text": (
        f'{{{VLLM},"choices":[{{"index":0,"delta":{{"role":"assistant","content":""}},"logprobs":null,'
        '"finish_reason":null}],"prompt_token_ids":null}',
        f'{{{VLLM},"choices":[{{"index":0,"delta":{{"content":"Hi \\"you\\"\\n"}},"logprobs":null,'
        '"finish_reason":null,"token_ids":null}]}',
        f'{{{OPENAI},"choices":[{{"index":0,"delta":{{"role":"assistant","content":"","refusal":null}},'
        '"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"aB3"}',
        f'{{{VLLM},"choices":[{{"index":0,"delta":{{"role":null,"content":"Hi","reasoning_content":null,'
        '"tool_calls":null},"logprobs":null,"finish_reason":null,"matched_stop":null}],"usage":null}',
        json.dumps({"id": "c", "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}]}),
        '{"choices":[{"finish_reason":null,"index":0,"delta":{"content":"Hi"}}],"created":1,"id":"c","model":"m"}',
    ),
    "finish": (
        f'{{{VLLM},"choices":[{{"index":0,"delta":{{}},"logprobs":null,"finish_reason":"stop"}}]}}',
        f'{{{VLLM},"choices":[{{"index":0,"delta":{{"content":""}},"logprobs":null,"finish_reason":"length",'
        '"stop_reason":null}]}',
        f'{{{OPENAI},"choices":[{{"index":0,"delta":{{}},"logprobs":null,"finish_reason":"tool_calls"}}],'
        '"usage":null}',
        json.dumps({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "content_filter"}]}),
    ),
    "usage": (
        f'{{{VLLM},"choices":[],"usage":{{"prompt_tokens":5,"total_tokens":7,"completion_tokens":2}}}}',
        f'{{{VLLM},"choices":[],"usage":{{"prompt_tokens":5,"total_tokens":7,"completion_tokens":2,'
        '"prompt_tokens_details":null}}',
        f'{{{VLLM},"choices":[],"usage":{OPENAI_USAGE},"obfuscation":"xy"}}',
        json.dumps({"id": "c", "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}),
    ),
    "done": ("[DONE]",),
}
# What only looks like an event that is known.
ODD = (
    '{"choices":[{"index":1,"delta":{"content":"Hi"},"finish_reason":null}]}',
    '{"choices":[{"index":0,"delta":{"content":"a","content":null}}]}',
    '{"choices":[{"index":0,"delta":{"content":"a"},"delta":{}}]}',
    '{"choices":[{"index":0,"delta":{"content":"a"}}],"choices":[]}',
    '{"choices":[{"index":0,"delta":{"content":"a"}}],"error":{"message":"no"}}',
    '{"choices":[{"index":0,"delta":{"content":"a"}}],"usage":{"prompt_tokens":3,"completion_tokens":1}}',
    '{"choices":[{"index":0,"delta":{"content":"a"}},{"index":1,"delta":{"content":"b"}}]}',
    '{"choices":[{"index":0,"delta":{"content":"\\ud83d"}}]}',
    '{"choices":[{"index":0,"delta":{"content":"\\x"}}]}',
    '{"choices":[{"index":0,"delta":{"content":"a\tb"}}]}',
    '{"choices":[{"index":0,"delta":{"content":"d\u00e9j\u00e0"},"finish_reason":null}]}',
    '{"choices":[{"index":0,"delta":{"reasoning_content":"so"},"finish_reason":null}]}',
    '{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}}]}',
    '{"choices":[{"index":0,"delta":{"content":"[DONE] \\"usage\\": {} event: error"},"finish_reason":null}]}',
    '{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}',
    '{"choices":[{"index":0,"delta":{},"finish_reason":"stop","finish_reason":null}]}',
    '{"choices":[{"index":0,"delta":{},"finish_reason":"error"}]}',
    '{"choices":[{"index":0,"delta":{},"finish_reason":" Stop"}]}',
    '{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}',
    '{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1},"usage":null}',
    '{"choices":[],"usage":{"prompt_tokens":03,"completion_tokens":1}}',
    '{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1,"cost":0.25}}',
    '{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1},"service_tier":"flex"}',
    '{"choices":[],"usage":{}}',
    '{"choices":[],"usage":null}',
    '{"choices":[]}',
    '{"error":{"message":"no"}}',
    "ping",
    '{"choices":[{"index":0,"delta":{"content":"cut',
)
EVENTS = [
    b"data: " + text.encode() + b"\n\n" for text in (*(each for texts in WRITTEN.values() for each in texts), *ODD)
]
OTHERS = (b": comment\n\n", b"\n", b"\r\n", b"event: x\n", b"data:\n\n", b'data: {"choices":\ndata: []}\n\n')
TEXT = b'data: {"choices":[{"index":0,"delta":{"content":"two words"},"finish_reason":null}]}\n\n'


def all_that_is_read(pieces: Sequence[bytes], protocol: WireProtocol, *, keep_usage: bool, now: bool) -> list[Any]:
    """All that an EventStream says after each of its steps. `now`: the pieces are there already."""
    left = list(pieces)

    async def read() -> bytes:
        return left.pop(0) if left else b""

    async def close() -> None:
        left.clear()

    source = Source("small", read, close, read_now=lambda: left.pop(0) if left and now else None)
    stream = EventStream(source, protocol, Timeouts(), keep_usage=keep_usage)
    seen: list[Any] = []

    def look(chunk: bytes) -> None:
        delivered = stream.delivered
        counts = delivered.tokens, delivered.sure_tokens, delivered.since_report
        seen.append((chunk, stream.usage, counts, stream.complete, str(stream.problem)))

    async def main() -> None:
        try:
            await stream.start()
            look(b"")
            async for chunk in stream:
                look(chunk)
        except UpstreamError as failure:
            look(f"<{failure.fault} {failure}>".encode())
        await stream.aclose()

    asyncio.run(main())
    return seen


@st.composite
def streams(draw: st.DrawFn) -> list[bytes]:
    """A stream of usual and odd events, some with a byte changed, in pieces as they may be received."""
    usual = st.lists(st.sampled_from([*EVENTS, TEXT, TEXT]), max_size=8)
    whole = bytearray(b"".join(draw(usual) + draw(st.lists(st.sampled_from(OTHERS), max_size=2)) + draw(usual)))
    if draw(st.booleans()):
        whole += WRITTEN_STREAM[-1] + DONE
    if draw(st.integers(0, 3)) == 0:
        whole = bytearray(bytes(whole).replace(b"\n", draw(st.sampled_from((b"\r\n", b"\r", b"\n")))))
    for _ in range(draw(st.integers(0, 2))):
        if whole:
            at = draw(st.integers(0, len(whole) - 1))
            match draw(st.integers(0, 2)):
                case 0:
                    del whole[at]
                case 1:
                    whole[at] = draw(st.sampled_from(b'"\\{}[],:0an \n\r\xc3\x00'))
                case _:
                    whole[at:at] = draw(
                        st.sampled_from((b'"', b"\\", b" ", b",", b"\n", b'"error":1,', b'"content":"",'))
                    )
    pieces, start = [], 0
    for size in draw(st.lists(st.integers(1, 400), max_size=6)):
        pieces.append(bytes(whole[start : start + size]))
        start += size
    return [piece for piece in (*pieces, bytes(whole[start:])) if piece]


WRITTEN_STREAM = [b"data: " + WRITTEN[kind][0].encode() + b"\n\n" for kind in ("text", "finish")]


@given(streams(), st.booleans(), st.booleans())
@example([b"".join(EVENTS)], True, True)
def test_a_stream_is_read_as_if_every_event_were_decoded(pieces: list[bytes], keep_usage: bool, now: bool) -> None:
    read = all_that_is_read(pieces, CHAT, keep_usage=keep_usage, now=now)
    assert read == all_that_is_read(pieces, DECODING, keep_usage=keep_usage, now=False)


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("after", [b"", TEXT, TEXT * 6])
def test_an_odd_event_is_read_as_if_it_were_decoded(odd: str, after: bytes) -> None:
    event = b"data: " + odd.encode() + b"\n\n"
    for pieces in ([after, event, TEXT, WRITTEN_STREAM[1], DONE], [after + event + TEXT + WRITTEN_STREAM[1] + DONE]):
        arrived = [piece for piece in pieces if piece]
        read = all_that_is_read(arrived, CHAT, keep_usage=False, now=True)
        assert read == all_that_is_read(arrived, DECODING, keep_usage=False, now=False)


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in WRITTEN.items() for text in texts])
def test_what_servers_write_is_recognised(kind: str, text: str) -> None:
    event = b"data: " + text.encode() + b"\n\n"
    pattern = CHAT_EVENTS.begins if kind == "text" else CHAT_EVENTS.ends
    found = pattern.match(event)
    assert found is not None
    assert found.lastgroup == kind
    assert found.end() == len(event)
    # Line ends that follow belong to the event.
    assert pattern.match(event + b"\n") is None
    assert pattern.match(event + b"\r") is None
    assert pattern.match(event + TEXT) is not None


@pytest.mark.parametrize("odd", [text for text in ODD if text[:1] == "{"])
def test_what_means_more_is_not_recognised(odd: str) -> None:
    event = b"data: " + odd.encode() + b"\n\n"
    is_known_usage = odd == '{"choices":[],"usage":{}}'
    is_text = "event: error" in odd
    assert (CHAT_EVENTS.begins.match(event) is None) is not is_text
    assert (CHAT_EVENTS.ends.match(event) is None) is not is_known_usage


def test_nothing_is_decoded_of_a_usual_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(_: bytes) -> None:
        raise AssertionError("an event was decoded")

    monkeypatch.setattr("router.dispatch.stream.read_event", decode)
    events = [
        *WRITTEN_STREAM[:1],
        TEXT,
        TEXT,
        WRITTEN_STREAM[1],
        b"data: " + WRITTEN["usage"][0].encode() + b"\n\n",
        DONE,
    ]
    seen = all_that_is_read([b"".join(events)], CHAT, keep_usage=False, now=True)
    assert seen[-1][:2] == (b"".join([*events[:4], DONE]), Usage(5, 2))


def test_nothing_that_is_ignored_is_read_as_usage_or_as_an_error() -> None:
    paths = {
        path for vocabulary in VOCABULARIES for name in (*COUNTS, "cost", "tier") for path in getattr(vocabulary, name)
    }
    keys = {path.partition(".")[0] for path in (*paths, *HOLDERS, *TIER_HOLDERS)}
    assert keys.isdisjoint(IGNORED)
    assert {"error", "response", "type", "choices"}.isdisjoint(IGNORED)
    assert all(CHAT.texts.search(b'"%b":"' % name.encode()) is None for name in IGNORED)
    assert len(FINISHES) == 4
