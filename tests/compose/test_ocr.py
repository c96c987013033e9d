"""A real OCR program as the first stage of a chain: a text-only card answers a question about an image, and in the same
way about what was said.
"""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bench.composite.servers import gateway
from tests.compose.ocr_server import MODEL, ocr_server
from tests.gateway.servers import COMPLETION, served

pytestmark = pytest.mark.skipif(shutil.which("tesseract") is None, reason="tesseract is not installed")

INVOICE = base64.b64encode((Path(__file__).parent / "invoice.png").read_bytes()).decode()
PICTURE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{INVOICE}"}}


async def _answer(request: Request) -> Response:
    """A text-only model: it knows the total of an invoice that it can read."""
    content = (await request.json())["messages"][-1]["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if any(part["type"] != "text" for part in parts):
        return JSONResponse({"error": {"message": "only text", "type": "invalid_request_error"}}, 400)
    lines = "\n".join(part["text"] for part in parts).splitlines()
    answer = next((line for line in lines if line.startswith("Total")), "I see no total.")
    message = {"role": "assistant", "content": answer}
    return JSONResponse({**COMPLETION, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})


async def _write_down(request: Request) -> Response:
    """A model that only hears: it repeats the words of a recording."""
    parts = (await request.json())["messages"][-1]["content"]
    said = [base64.b64decode(part["input_audio"]["data"]).decode() for part in parts if part["type"] == "input_audio"]
    message = {"role": "assistant", "content": "\n".join(said)}
    return JSONResponse({**COMPLETION, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})


async def _models(request: Request) -> Response:
    return JSONResponse({"object": "list", "data": [{"id": name, "object": "model"} for name in CARDS]})


CARDS: dict[str, dict[str, Any]] = {
    "ocr": {"model": MODEL, "modalities": ["text", "image"], "consumes": ["image"], "produces": ["text"]},
    "speech": {"modalities": ["text", "audio"], "consumes": ["audio"], "produces": ["text"]},
    "plain": {},
}
# No stage names a card.
PLANS = [
    {
        "id": plan,
        "kind": "chain",
        "description": "x",
        "stages": [{"consumes": content, "produces": "text"}, {"consumes": "text", "produces": "text"}],
    }
    for plan, content in (("read", "image"), ("hear", "audio"))
]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running gateway process before the OCR program, a transcriber and a model that reads only text."""
    folder = tmp_path_factory.mktemp("chains")
    (folder / "cards").mkdir()
    with contextlib.ExitStack() as stack:
        bases = {"ocr": stack.enter_context(ocr_server())}
        for name, answer in (("speech", _write_down), ("plain", _answer)):
            routes = [Route("/v1/chat/completions", answer, methods=["POST"]), Route("/v1/models", _models)]
            bases[name] = f"{stack.enter_context(served(Starlette(routes=routes)))}/v1"
        for name, facts in CARDS.items():
            card = {"id": name, "provider": "hosted_vllm", "model": name, "base_url": bases[name], **facts}
            (folder / "cards" / f"{name}.yaml").write_text(json.dumps(card))
        yield stack.enter_context(gateway(folder / "gateway", folder / "cards", PLANS))


def ask(url: str, model: str, content: str | Sequence[Mapping[str, Any]]) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": content}]}
    response = httpx.post(f"{url}/chat/completions", json=body, timeout=60, trust_env=False)
    assert response.status_code == 200, response.text
    return response


QUESTION = {"type": "text", "text": "What is the total?"}


def test_a_text_only_card_answers_about_a_scanned_image(url: str) -> None:
    answer = ask(url, "plan/read", [QUESTION, PICTURE])
    assert answer.json()["choices"][0]["message"]["content"] == "Total 238 euros"
    assert (answer.headers["x-route-card"], answer.headers["x-route-calls"]) == ("plain", "2")


def test_a_text_only_card_answers_about_what_was_said(url: str) -> None:
    recording = base64.b64encode(b"Good morning.\nTotal 17 pounds").decode()
    heard = {"type": "input_audio", "input_audio": {"data": recording, "format": "wav"}}
    answer = ask(url, "plan/hear", [QUESTION, heard])
    assert answer.json()["choices"][0]["message"]["content"] == "Total 17 pounds"
    assert (answer.headers["x-route-card"], answer.headers["x-route-calls"]) == ("plain", "2")


def test_a_question_without_an_image_goes_to_the_card_that_answers(url: str) -> None:
    answer = ask(url, "plan/read", "Total is a word.")
    assert answer.headers["x-route-card"] == "plain"


def test_a_card_that_only_converts_is_no_answer_to_a_routed_question(url: str) -> None:
    assert ask(url, "auto", "Total is a word.").headers["x-route-card"] == "plain"
