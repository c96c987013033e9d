"""What the card of an adapter states about it: the shape of its weights, what it changes, where it comes from."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from router.cards.abilities import CardId, Word

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
    """The origin of a model: what it was made from, and how far an adapter that was moved to a new base is checked."""

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
            Literal["ported", "probed", "promoted"],
            Meta(description="How far an adapter that was moved to another base is checked."),
        ]
        | None
    ) = None
    note: Word | None = None
