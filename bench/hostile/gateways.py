"""Pulvinar as it is attacked: its cards, its keys, and its settings. Other gateways come from `bench.peers`."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from pathlib import Path
from typing import Any

import msgspec
import yaml

from bench.gateway.contender import CHAT, Contender
from bench.gateway.processes import Start
from bench.hostile.attack import Attack
from bench.hostile.honest import Ask
from router.cards import Card
from router.cards.price import Price
from router.formats.quantities import Dollars
from router.gateway.config.keys import hash_of, new_key
from router.store.state.redis.store import RedisState
from router.store.state.redis.url import read_url
from tests.faults.gateways import KEY_VARIABLE
from tests.faults.process import route_serve

NAME = "Pulvinar"
NAMED, DEAR, CLAUDE, FETCHING = "named", "dear", "claude", "fetching"
# The first of these is the cheaper one: it answers honest requests unless it cools down.
POOL = ("pool-1", "pool-2")
AUTO = "auto[tag=pool,cheapest=1000]"
DEAR_USD_A_TOKEN = 10e-6
"""What an output token of the cards `dear` and `claude` costs; their input is free."""
HONEST, EVIL = "honest", "evil"
_NANO = 1e-9


def pulvinar(scratch: Path, upstream: int, attack: Attack) -> Contender:
    """`route serve` with one card for named requests, a pool for `auto`, and a dear one for the attacker.

    With those of Anthropic where the attack asks for them.
    """
    url = f"http://127.0.0.1:{upstream}"
    cards = [
        _card(NAMED, url, 1.0),
        _card(POOL[0], url, 1.0, tags=("pool",)),
        _card(POOL[1], url, 5.0, tags=("pool",)),
        _card(DEAR, url, DEAR_USD_A_TOKEN * 1e6, max_output_tokens=100_000, apis=("chat", "responses", "embeddings")),
    ]
    if attack.anthropic:
        cards += [
            _card(CLAUDE, url, DEAR_USD_A_TOKEN * 1e6, provider="anthropic", apis=("messages",)),
            # Called through litellm, which fetched the URLs of images in some releases.
            _card(FETCHING, url, 1.0, provider="anthropic", modalities=("text", "image", "pdf")),
        ]
    arguments: tuple[str, ...] = ("--workers", str(attack.workers))
    if attack.state_url:
        arguments += ("--state", attack.state_url)
    start = route_serve(scratch, cards, {"open_metrics": True, **attack.settings}, arguments)
    keys = {HONEST: new_key(), EVIL: new_key()}
    entries = [{"id": HONEST, "hash": hash_of(keys[HONEST])}, {"id": EVIL, "hash": hash_of(keys[EVIL]), **attack.evil}]
    (scratch / "keys.yaml").write_text(yaml.safe_dump({"keys": entries}))
    start = msgspec.structs.replace(start, environment=start.environment | {KEY_VARIABLE: "sk-of-the-upstream-123456"})
    return Contender(
        NAME, wrapped(start, attack.shell), NAMED, CHAT, {who: f"Bearer {key}" for who, key in keys.items()}
    )


def wrapped(start: Start, shell: str) -> Start:
    """`start` by way of a shell command."""
    return msgspec.structs.replace(start, command=("sh", "-c", shell, "sh", *start.command)) if shell else start


def _card(name: str, url: str, output_usd: float, **fields: Any) -> Card:
    facts = {"provider": "openai", "base_url": f"{url}/{name}/v1", "api_key_env": KEY_VARIABLE, **fields}
    # The bills of the upstream are of output alone.
    input_usd = 0.0 if output_usd >= DEAR_USD_A_TOKEN * 1e6 else output_usd
    price = Price(Dollars(input_usd), Dollars(output_usd))
    return Card(id=name, model="bench", price=price, capabilities=("tools", "json_schema"), **facts)


def honest_asks() -> tuple[Ask, ...]:
    """What honest clients of this gateway send: named and routed, whole and as streams, on both chat surfaces."""
    return (
        _ask(NAMED, NAMED),
        _ask(AUTO, POOL[0]),
        _ask(NAMED, NAMED, stream=True),
        _ask(AUTO, POOL[0], path="/v1/messages"),
        _ask(AUTO, POOL[0], stream=True),
    )


def _ask(model: str, card: str | None, path: str = CHAT, stream: bool = False) -> Ask:
    messages = [{"role": "user", "content": "Say hello. who=honest do=ok"}]
    body = {"model": model, "messages": messages, "max_tokens": 64}
    return Ask(path, body | {"stream": True} if stream else body, card)


def peer_asks(contender: Contender) -> tuple[Ask, ...]:
    """What honest clients of another gateway send."""
    return tuple(_ask(contender.model, None, contender.path, stream) for stream in (False, True))


async def charged_usd(scratch: Path, key: str, state_url: str = "") -> float | None:
    """What the store, or the state at the URL, has charged a key with a budget; None if it has not counted anything."""
    if state_url:
        return await _charged_at(state_url, key)
    file = scratch / "store" / "state.sqlite"
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)) as database:
        (spent,) = database.execute("SELECT sum(spent) FROM spend WHERE key = ?", (key,)).fetchone()
    return None if spent is None else spent * _NANO


async def _charged_at(url: str, key: str) -> float:
    state = RedisState(read_url(url), hold_s=60.0)
    try:
        return await state.spent_usd(key, time.time())
    finally:
        await state.aclose()
