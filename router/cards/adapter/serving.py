"""What the card of a base model states about its servers' adapters: how many they hold, and who loads them."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from router.cards.abilities import CardId
from router.formats.quantities import Seconds

AdapterDialect = Literal["vllm", "sglang", "lorax", "llama.cpp"]
LLAMA_CPP = "llama.cpp"

KeyId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")]
"""The id of a client's key in the gateway's `keys.yaml`."""


class AdapterServer(Struct, frozen=True, forbid_unknown_fields=True, rename={"load_timeout_s": "load_timeout"}):
    """How the servers of a base model hold its adapters: `slots` of them at once on each server; those that are
    `pinned` stay. A server that is not managed loads its adapters by itself.

    A llama.cpp server holds the adapters of `lora_slots` from its start, and loads none.
    """

    server: Annotated[AdapterDialect, Meta(description="What loads the adapters: vllm, sglang, lorax or llama.cpp.")]
    slots: (
        Annotated[
            int,
            Meta(ge=1, le=100_000, description="Adapters that one server holds at once (vLLM: --max-cpu-loras)."),
        ]
        | None
    ) = None
    load_timeout_s: Annotated[Seconds, Meta(description="How long one load may take.")] = msgspec.field(
        default_factory=lambda: Seconds(30)
    )
    manage: Annotated[
        bool,
        Meta(description="false: the server loads adapters by itself; the gateway only prefers servers that have one."),
    ] = True
    pinned: Annotated[tuple[CardId, ...], Meta(description="Adapters that are never unloaded for others.")] = ()

    def __post_init__(self) -> None:
        if self.server != LLAMA_CPP:
            if self.slots is None:
                raise ValueError(
                    'the key "slots" is missing: how many adapters one server holds at once (vLLM: --max-cpu-loras, '
                    "else --max-loras; SGLang: --max-loaded-loras; LoRAX: --max-active-adapters)"
                )
            if len(set(self.pinned)) > self.slots:
                raise ValueError(f"pinned: names {len(set(self.pinned))} adapters, and a server has {self.slots} slots")
            return
        for key in ("slots", "pinned"):
            if getattr(self, key):
                raise ValueError(
                    f"{key}: a llama.cpp server holds all adapters of `lora_slots` from its start; remove it"
                )

    @property
    def loads(self) -> bool:
        """Whether the gateway loads and unloads adapters."""
        return self.manage and self.server != LLAMA_CPP
