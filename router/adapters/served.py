"""How adapters are served: what the base's card says of its server, and the command that starts that server."""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from router.adapters.back_ends import VLLM_RANKS
from router.adapters.cards import Imported, card_facts
from router.cards.adapter.serving import LLAMA_CPP, AdapterDialect
from router.cards.schema import Card
from router.cards.servers import check_server
from router.errors import CallerError, ConfigurationError


class Serving(Struct, frozen=True):
    """The server of the base at `base_url`: it holds as many adapters at once as it has `slots`. A llama.cpp server has
    all of them, as files in the folder `gguf`.
    """

    server: AdapterDialect
    base_url: str | None = None
    slots: int | None = None
    gguf: Path | None = None

    def check(self) -> None:
        """Raise CallerError where an option is missing or wrong."""
        try:
            check_server(self.base_url, None)
        except ValueError as error:
            raise CallerError(f"--base-url: {str(error).removeprefix('base_url: ')}") from None
        if self.server == LLAMA_CPP and self.gguf is None:
            raise CallerError("--gguf: give the folder that `route adapters convert` has filled")
        if self.server != LLAMA_CPP and self.slots is None:
            raise CallerError("--slots: how many adapters one server holds at once, such as 8")


def served_facts(facts: Imported, base: str, provider: str, base_model: str, serving: Serving) -> dict[str, Any]:
    """The keys and values of an adapter's card where its server is known.

    At llama.cpp all cards are called by the name of the base model. Raises ConfigurationError where its file does not
    exist.
    """
    card = card_facts(facts, base, provider)
    if serving.gguf is None:
        if facts.verdict.reasons.get(serving.server, facts.verdict.why) is not None:
            card = {**card, "dispatchable": False}
        return card
    if facts.verdict.servable not in ("adapter", "fold"):
        return card
    file = (serving.gguf / f"{facts.id}.gguf").resolve()
    if not file.is_file():
        raise ConfigurationError(
            f"{facts.folder}: {serving.gguf / file.name} does not exist; run `route adapters convert` first"
        )
    # What could not be served as it was has been folded on the way.
    card.pop("dispatchable", None)
    lora = {**card["lora"], "path": str(file), "format": "gguf", "bytes": file.stat().st_size}
    return {**card, "model": base_model, "lora": lora}


def base_facts(base: Card, cards: Iterable[Card], serving: Serving) -> dict[str, Any]:
    """What changes on the base's card: its address where it has none, and how its servers hold the adapters among
    `cards`. The slots of a llama.cpp server keep their order; new adapters come last.
    """
    facts: dict[str, Any] = {}
    if serving.base_url is not None and not base.deployments and base.base_url != serving.base_url:
        facts["base_url"] = serving.base_url
    slots = {} if serving.slots is None or serving.server == LLAMA_CPP else {"slots": serving.slots}
    stated = base.adapters
    if stated is None or (stated.server, stated.slots) != (serving.server, slots.get("slots")):
        facts["adapters"] = {"server": serving.server, **slots}
    if serving.server == LLAMA_CPP:
        before = base.lora_slots or ()
        now = [card.id for card in cards if _is_in_slots(card, base)]
        order = [*(name for name in before if name in now), *sorted(name for name in now if name not in before)]
        if tuple(order) != before:
            facts["lora_slots"] = order
    return facts


def _is_in_slots(card: Card, base: Card) -> bool:
    """Whether the adapter is on the server of its base."""
    return (
        card.base == base.id
        and card.provider == base.provider
        and card.base_url in (None, base.base_url)
        and card.withheld is None
        and not card.stack
    )


def start_command(base: Card, cards: Sequence[Card], model: Path | None = None) -> str:
    """The command that starts the server of `base` with the adapters among `cards`; a llama.cpp server reads the base
    from the file `model`. Raises CallerError.
    """
    stated, url = base.adapters, base.base_url or next((place.base_url for place in base.deployments), None)
    if stated is None or url is None:
        raise CallerError(f"{base.id}: its card states no `adapters` and base_url; import with --server and --base-url")
    by_id = {card.id: card for card in cards}
    if stated.server == LLAMA_CPP:
        if model is None:
            raise CallerError("--model: give the GGUF file of the base, which llama.cpp reads")
        adapters = [["--lora", _path(by_id[name])] for name in base.lora_slots or ()]
        start = ["llama-server", "--model", str(model), "--alias", base.model]
        return _lines([start, [*_address(url), *_key(base)], ["--lora-init-without-apply"], *adapters])
    if stated.server == "vllm":
        ranks = [card.lora.rank for card in cards if card.base == base.id and card.lora and card.lora.rank]
        rank = next((rank for rank in VLLM_RANKS if rank >= max(ranks, default=16)), max(ranks, default=16))
        slots = stated.slots or 1
        numbers = {"--max-loras": slots, "--max-cpu-loras": 2 * slots, "--max-lora-rank": rank}
        options = [word for name, number in numbers.items() for word in (name, str(number))]
        start = ["vllm", "serve", base.model, *_address(url), *_key(base)]
        return "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True " + _lines([start, ["--enable-lora", *options]])
    raise CallerError(f"{base.id}: only commands for vllm and llama.cpp are known here, not for {stated.server}")


def _path(card: Card) -> str:
    if card.lora is None or card.lora.path is None:
        raise CallerError(f"{card.id}: its card states no `lora.path`, the GGUF file")
    return card.lora.path


def _address(url: str) -> list[str]:
    """The options for host and port: this machine alone where the gateway is on it, too."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        is_local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_local = host == "localhost"
    default = 443 if parts.scheme == "https" else 80
    return ["--host", "127.0.0.1" if is_local else "0.0.0.0", "--port", str(parts.port or default)]


def _key(base: Card) -> list[str]:
    variables = base.api_key_env
    first = variables if isinstance(variables, str) or variables is None else variables[0]
    return [] if first is None else ["--api-key", f"${first}"]


def _lines(groups: Sequence[Sequence[str]]) -> str:
    """The words in lines that a shell reads as one command; variables are for the shell."""
    return " \\\n  ".join(
        " ".join(f'"{word}"' if word[0] == "$" else shlex.quote(word) for word in line) for line in groups
    )
