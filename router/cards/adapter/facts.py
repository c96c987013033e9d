"""What the card of an adapter states about it: the shape of its weights, what it changes, where it comes from."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from router.cards.abilities import CardId, Word
from router.formats.quantities import Share

Axis = Annotated[
    Literal["language", "task", "style"],
    Meta(description="What the adapter changes: the language of the answer, the task, or the style."),
]


class Lora(Struct, frozen=True, forbid_unknown_fields=True):
    """The shape of a low-rank adapter, the path and format of its weights, and their size in bytes. What is no low-rank
    adapter (a soft prompt) has no rank, alpha and targets.
    """

    rank: Annotated[int, Meta(gt=0)] | None = None
    alpha: float | None = None
    targets: tuple[Word, ...] = ()
    path: Word | None = None
    format: Annotated[Word, Meta(description="Format of the weights, such as peft or gguf.")] | None = None
    bytes: Annotated[int, Meta(gt=0, description="Size of the weights.")] | None = None

    def __post_init__(self) -> None:
        if self.rank is None and (self.alpha is not None or self.targets):
            raise ValueError('the key "rank" is missing')


class Lineage(Struct, frozen=True, forbid_unknown_fields=True):
    """The origin of a model: what it was made from, and how far one that takes the place of another is checked.

    A `canary` answers a `share` of the conversations of the card `of`.
    """

    parents: tuple[CardId, ...] = ()
    migrated_from: CardId | None = None
    derived_from: (
        Annotated[
            CardId,
            Meta(description="The card of which this is a later version, or a folded, cut or quantised form."),
        ]
        | None
    ) = None
    state: (
        Annotated[
            Literal["ported", "probed", "canary", "promoted"],
            Meta(description="How far a model that takes the place of another is checked."),
        ]
        | None
    ) = None
    of: Annotated[CardId, Meta(description="The card of whose traffic a canary takes a share.")] | None = None
    share: Annotated[Share, Meta(description="The share of this traffic.")] | None = None
    note: Word | None = None

    def __post_init__(self) -> None:
        if self.state != "canary":
            return
        if missing := next((key for key in ("of", "share") if getattr(self, key) is None), None):
            what = "the card whose place it may take" if missing == "of" else "such as 5%"
            raise ValueError(f'the key "{missing}" ({what}) is missing beside `state: canary`')
