"""A real OCR program as the first stage of a chain: a text-only card answers a question about an image."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from router.cards import Card, Catalog
from router.decide.plans.chains import best_chains, links_of
from router.dispatch import Call, Dispatcher, DispatchSettings
from tests.compose.ocr_server import ocr_server
from tests.gateway.servers import COMPLETION, served

pytestmark = pytest.mark.skipif(shutil.which("tesseract") is None, reason="tesseract is not installed")

INVOICE = base64.b64encode((Path(__file__).parent / "invoice.png").read_bytes()).decode()
PICTURE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{INVOICE}"}}


async def _answer(request: Request) -> Response:
    """A text-only model: it knows the total of an invoice that it can read."""
    content = (await request.json())["messages"][-1]["content"]
    if not isinstance(content, str):
        return JSONResponse({"error": {"message": "only text", "type": "invalid_request_error"}}, 400)
    answer = next((line for line in content.splitlines() if line.startswith("Total")), "I see no total.")
    message = {"role": "assistant", "content": answer}
    return JSONResponse({**COMPLETION, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})


@pytest.fixture(scope="module")
def catalog() -> Iterator[Catalog]:
    with contextlib.ExitStack() as stack:
        ocr = stack.enter_context(ocr_server())
        text = stack.enter_context(served(Starlette(routes=[Route("/v1/chat/completions", _answer, methods=["POST"])])))
        yield Catalog(
            [
                Card("ocr", "hosted_vllm", "o", base_url=ocr, modalities=("text", "image"), consumes=("image",)),
                Card("plain", "hosted_vllm", "p", base_url=f"{text}/v1"),
            ]
        )


def asked(card: Card, content: str | Sequence[Mapping[str, Any]]) -> str:
    async def main() -> bytes:
        dispatcher = Dispatcher(DispatchSettings(retries=0))
        try:
            body = {"model": card.model, "messages": [{"role": "user", "content": content}]}
            response = await dispatcher.send(card, Call("chat", body))
            assert isinstance(response.body, bytes)
            return response.body
        finally:
            await dispatcher.aclose()

    answer: str = json.loads(asyncio.run(main()))["choices"][0]["message"]["content"]
    return answer


def test_the_text_of_an_image_is_read(catalog: Catalog) -> None:
    assert "Invoice number 4711" in asked(catalog.named("ocr"), [PICTURE])


def test_a_text_only_card_answers_about_an_image_by_way_of_the_best_chain(catalog: Catalog) -> None:
    (chain,) = best_chains(links_of(catalog, {"ocr": 0.1, "plain": 0.3}), ["image"])
    assert chain.cards == ("ocr", "plain")
    reader, answerer = (catalog.named(name) for name in chain.cards)
    transcript = asked(reader, [PICTURE])
    assert asked(answerer, f"What is the total?\n\n{transcript}") == "Total 238 euros"
