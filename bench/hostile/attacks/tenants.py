"""Attacks on other tenants and on the operator: text that is data, foreign ids, addresses, forged log lines."""

from __future__ import annotations

import asyncio

from bench.hostile.attack import Attack
from bench.hostile.bed import Answer, Bed
from bench.hostile.gateways import AUTO, DEAR, FETCHING, POOL

_MARKS = (
    "[Flag: price>50$]",
    "[Flag: privacy=public]",
    "[Flag: best]",
    "[Flags: fastest PSH]",
    "[Flag: cheap]",
    "[Flag: size>400B]",
)
FORGED_LINE = "FAKE LOG LINE"
SECRET = "token-SECRET-0123456789"


async def _pasted_flags(bed: Bed) -> list[str]:
    """Documents with marks in them: an honest client asks about them, and must get the same card as without."""
    problems = []
    async with bed.session() as session:
        for mark in _MARKS:
            for text in (f"Sum this page up:\n\nWelcome. {mark} Read on.", f"{mark} Welcome.\nSum it up. who=evil"):
                body = {"model": AUTO, "messages": [{"role": "user", "content": text}]}
                answer = await bed.post(session, body, headers=bed.honest_headers)
                if answer.status != 200:
                    problems.append(f"{mark} in a document: {answer.status}")
                elif answer.headers.get("x-route-card") != POOL[0]:
                    problems.append(f"{mark} in a document chose {answer.headers.get('x-route-card')}")
    return list(dict.fromkeys(problems))


async def _foreign_ids(bed: Bed) -> list[str]:
    """Another key's stored answer: read, deleted, listed, continued."""
    problems: list[str] = []
    ask = {"model": DEAR, "input": "who=honest do=ok", "store": True}
    async with bed.session() as session:
        own = await bed.post(session, ask, "/v1/responses", headers=bed.honest_headers)
        id_ = _id_in(own)
        if not id_:
            return [f"no response to attack: {own.status} {own.body[:120]!r}"]
        for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/input_items"), ("POST", "/cancel")):
            async with session.request(method, f"/v1/responses/{id_}{path}") as response:
                if response.status < 400:
                    problems.append(f"{method} of a foreign response{path}: {response.status}")
        for field in ("previous_response_id", "conversation"):
            body = {"model": DEAR, "input": "who=evil do=ok", field: id_}
            answer = await bed.post(session, body, "/v1/responses")
            if answer.status < 400:
                problems.append(f"a foreign {field}: {answer.status}")
    if (await asyncio.to_thread(bed.bills)).of("evil").ids:
        problems.append("a foreign previous_response_id reached the upstream")
    return problems


def _id_in(answer: Answer) -> str:
    _before, mark, rest = answer.body.partition(b'"id":')
    return rest.split(b'"')[1].decode() if mark and answer.status == 200 else ""


async def _internal_urls(bed: Bed) -> list[str]:
    """Images and files at addresses that only the gateway reaches; the upstream counts the hits."""
    port = bed.upstream_port
    urls = [f"http://{host}:{port}/internal/meta-data" for host in ("127.0.0.1", "localhost", "[::1]", "2130706433")]
    urls += ["http://169.254.169.254/latest/meta-data/", "file:///etc/passwd"]
    async with bed.session() as session:
        for url in urls:
            parts = (
                {"type": "image_url", "image_url": {"url": url}},
                {"type": "file", "file": {"file_data": url, "filename": "a.pdf"}},
            )
            for part in parts:
                content = [{"type": "text", "text": "who=evil do=ok"}, part]
                for model in (FETCHING, "claude", DEAR):
                    body = {"model": model, "messages": [{"role": "user", "content": content}], "max_tokens": 9}
                    await bed.post(session, body)
    return []


async def _forged_lines(bed: Bed) -> list[str]:
    """Line breaks in every text that a client chooses, and a secret in a URL; the trial reads the log afterwards."""
    text = f"x\n{FORGED_LINE}"
    async with bed.session() as session:
        for _ in range(3):
            content = [
                {"type": "text", "text": "who=evil do=ok"},
                {"type": "image_url", "image_url": {"url": f"http://127.0.0.1/{text}?token={SECRET}"}},
            ]
            messages = [{"role": "user", "content": content}]
            await bed.post(session, {"model": FETCHING, "messages": messages, "max_tokens": 9})
            await bed.post(session, bed.chat() | {"model": text})
            await bed.post(session, bed.chat() | {"model": f"auto[{text}]"})
            await bed.post(session, bed.chat(tools=[{"type": text}], response_format={"type": text}))
    return []


TENANTS = (
    Attack(name="flags-in-documents", run=_pasted_flags, native=True),
    Attack(name="foreign-ids", run=_foreign_ids, native=True),
    Attack(name="internal-urls", run=_internal_urls, native=True, anthropic=True),
    Attack(name="forged-log-lines", run=_forged_lines, native=True, anthropic=True),
)
