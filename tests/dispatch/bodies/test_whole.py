from __future__ import annotations

import gc
import json
from collections.abc import Iterator

import pytest

from router.dispatch.bodies import whole
from router.dispatch.bodies.reader import BodyReader
from router.dispatch.bodies.whole import whole_response
from router.errors import UpstreamError
from tests.dispatch.calls import call, raw_server
from tests.gateway.servers import make_card

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n"


@pytest.fixture
def without_garbage_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("without_garbage_collector")
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(HEAD + b"\r\n" + b" " * 4096, id="too-large"),
        pytest.param(HEAD + b"content-length: 4096\r\n\r\n{", id="cut"),
        pytest.param(HEAD + b"\r\nno JSON", id="garbage"),
    ],
)
def test_nothing_of_an_answer_that_cannot_be_used_stays_in_a_cycle(
    monkeypatch: pytest.MonkeyPatch, answer: bytes, stream: bool
) -> None:
    monkeypatch.setattr(whole, "MAX_RESPONSE_BYTES", 1024)
    with raw_server(answer) as url, pytest.raises(UpstreamError):
        call(make_card("a", url), stream=stream)
    assert [each for each in gc.get_objects() if isinstance(each, BodyReader)] == []


@pytest.mark.parametrize("decode", [False, True])
@pytest.mark.parametrize("text", ["half", "half \ud83d"], ids=["text", "half-an-emoji"])
def test_an_answer_that_its_server_gave_up_is_a_failure(text: str, decode: bool) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "error"}
    with pytest.raises(UpstreamError, match='finish reason "error"') as raised:
        whole_response(make_card("a", "http://a"), None, 200, {}, json.dumps({"choices": [choice]}).encode(), decode)
    assert raised.value.fault == "error_event"
