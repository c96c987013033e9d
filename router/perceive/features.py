"""From a request to its features: the embedding of what the human asks, then what the text looks like."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from router.perceive.encoder import MAX_CHARACTERS, Encoder, unit
from router.perceive.human_text import human_text
from router.perceive.text_features import WIDTH, surface_features
from router.types import Features, Floats
from router.wire.chat.request import ChatRequest

VERSION = 1
"""Raised whenever the same turns would give another vector from the same encoder: kept vectors are then made anew."""

TURN_DECAY = 0.5
"""Weight of a human turn relative to the one after it (S24: a follow-up is understood with what came before).
"""

_TURNS_READ = 6
_TURNS_LOOKED_AT = 30
"""How far back a human's words are looked for, where an agent sends the results of its tools as the user's turns."""


def vector_width(encoder: Encoder) -> int:
    """How many numbers `feature_vector` gives."""
    return encoder.dimensions + WIDTH


def feature_vector(encoder: Encoder, turns: tuple[str, ...]) -> Floats:
    """float32 of shape `(vector_width(encoder),)` for the human turns of a conversation, oldest first.

    What harnesses put into them is not read.
    """
    vector: Floats = feature_vectors(encoder, (turns,))[0]
    return vector


def feature_vectors(encoder: Encoder, conversations: Sequence[tuple[str, ...]]) -> Floats:
    """float32 of shape `(conversations, vector_width(encoder))`: each row is the `feature_vector` of one, as exactly as
    the encoder gives the same vector for a text among others and alone. The default one does so to the bit.
    """
    read = [_asks(turns) for turns in conversations]
    embeddings = encoder.encode([text for recent, _ in read for text in recent])
    vectors = np.empty((len(read), vector_width(encoder)), dtype=np.float32)
    end = 0
    for vector, turns, (recent, passed_over) in zip(vectors, conversations, read, strict=True):
        start, end = end, end + len(recent)
        vector[: encoder.dimensions] = _decayed(embeddings[start:end])
        vector[encoder.dimensions :] = surface_features(recent[-1][:MAX_CHARACTERS], len(turns) - passed_over)
    return vectors


def _decayed(embeddings: Floats) -> Floats:
    """The embedding of a conversation whose turns have these, oldest first."""
    last: Floats = embeddings[-1]
    if len(embeddings) == 1:
        return last
    weights = TURN_DECAY ** np.arange(len(embeddings) - 1, -1, -1, dtype=np.float32)
    return unit((embeddings * weights[:, None]).sum(axis=0))


def _asks(turns: tuple[str, ...]) -> tuple[tuple[str, ...], int]:
    """What the human asked in the newest turns, oldest first, and how many of those are a harness's alone; the turns
    as they are where no word is a human's.
    """
    asks: list[str] = []
    looked_at = turns[: -_TURNS_LOOKED_AT - 1 : -1]
    passed_over = 0
    for turn in looked_at:
        if words := human_text(turn):
            asks.append(words)
            if len(asks) == _TURNS_READ:
                break
        else:
            passed_over += 1
    return (tuple(asks[::-1]), passed_over) if asks else (turns[-_TURNS_READ:], 0)


class Perceiver:
    """Turns requests into features with one encoder."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    def __call__(self, request: ChatRequest) -> Features:
        """The features of `request`."""
        human = request.human_turns
        other_characters = sum(len(turn.text) for turn in request.turns) - len(human[-1]) + request.tool_characters
        return Features(
            vector=feature_vector(self._encoder, human),
            input_tokens=self._encoder.count_tokens(human[-1]) + -(-other_characters // 4),
            modalities=request.modalities,
            needs=request.needs,
            output_limit=request.output_limit,
        )
