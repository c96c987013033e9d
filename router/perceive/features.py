"""Features of a request: the embedding of the human's turns, then surface features of the newest one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from router.perceive.encoder import MAX_CHARACTERS, Encoder, unit
from router.perceive.human_text import human_text
from router.perceive.reader import READINGS, Context, Reader
from router.perceive.text_features import WIDTH, surface_features
from router.types import Features, Floats
from router.wire.chat.request import ChatRequest
from router.wire.effort import sets_effort

VERSION = 1
"""Version of the features. Raise it when the same turns get another vector, so that cached vectors are discarded."""

TURN_DECAY = 0.5
"""Weight of a human turn relative to the next one: a follow-up depends on the turns before it."""

_MAX_TURNS = 6
_MAX_SEARCHED_TURNS = 30
"""How many turns to search for human text, since agents send the results of their tools as turns of the user."""


def vector_width(encoder: Encoder) -> int:
    """The length of `feature_vector` without a reading."""
    return encoder.dimensions + WIDTH


def feature_vector(
    encoder: Encoder, turns: tuple[str, ...], reader: Reader | None = None, context: Context | None = None
) -> Floats:
    """float32 `(vector_width(encoder),)` for the human turns of a conversation, oldest first; with a reader, followed by
    its reading.

    Text that agent harnesses inserted into the turns is ignored.
    """
    vector: Floats = feature_vectors(encoder, (turns,), reader, None if context is None else (context,))[0]
    return vector


def feature_vectors(
    encoder: Encoder,
    conversations: Sequence[tuple[str, ...]],
    reader: Reader | None = None,
    contexts: Sequence[Context] | None = None,
) -> Floats:
    """float32 `(conversations, width)`: the `feature_vector` of each conversation. Without `contexts`, nothing but the
    human's turns stands around them.

    The rows equal single calls as exactly as the encoder's do; those of the default encoder are the same to the bit.
    """
    human = [_human_texts(turns) for turns in conversations]
    embeddings = encoder.encode([text for texts, _ in human for text in texts])
    vectors = np.empty((len(human), vector_width(encoder)), dtype=np.float32)
    end = 0
    for vector, turns, (texts, skipped) in zip(vectors, conversations, human, strict=True):
        start, end = end, end + len(texts)
        vector[: encoder.dimensions] = _decayed_mean(embeddings[start:end])
        vector[encoder.dimensions :] = surface_features(texts[-1][:MAX_CHARACTERS], len(turns) - skipped)
    if reader is None:
        return vectors
    around: Sequence[Context | None] = contexts or [None] * len(human)
    readings = [
        reader(texts, vector, context) for (texts, _), vector, context in zip(human, vectors, around, strict=True)
    ]
    return np.concatenate([vectors, np.array(readings, dtype=np.float32).reshape(len(human), READINGS)], axis=1)


def context_of(request: ChatRequest) -> Context:
    """What stands around the human's turns of `request`."""
    characters = sum(len(turn.text) for turn in request.turns) + request.tool_characters
    return Context(characters, len(request.turns), "tools" in request.needs)


def _decayed_mean(embeddings: Floats) -> Floats:
    """The embedding of a conversation from those of its turns, oldest first."""
    newest: Floats = embeddings[-1]
    if len(embeddings) == 1:
        return newest
    weights = TURN_DECAY ** np.arange(len(embeddings) - 1, -1, -1, dtype=np.float32)
    return unit((embeddings * weights[:, None]).sum(axis=0))


def _human_texts(turns: tuple[str, ...]) -> tuple[tuple[str, ...], int]:
    """The human text of the newest turns, oldest first, and the number of turns skipped because they have none.

    If no turn has any, the newest turns as they are.
    """
    texts: list[str] = []
    skipped = 0
    for turn in turns[: -_MAX_SEARCHED_TURNS - 1 : -1]:
        if text := human_text(turn):
            texts.append(text)
            if len(texts) == _MAX_TURNS:
                break
        else:
            skipped += 1
    return (tuple(texts[::-1]), skipped) if texts else (turns[-_MAX_TURNS:], 0)


class Perceiver:
    """Computes the features of requests with one encoder, and a reader if the predictor has one."""

    def __init__(self, encoder: Encoder, reader: Reader | None = None) -> None:
        self._encoder, self._reader = encoder, reader

    def __call__(self, request: ChatRequest) -> Features:
        """The features of `request`."""
        human = request.human_turns
        other_characters = sum(len(turn.text) for turn in request.turns) - len(human[-1]) + request.tool_characters
        return Features(
            vector=feature_vector(self._encoder, human, self._reader, context_of(request)),
            input_tokens=self._encoder.count_tokens(human[-1]) + -(-other_characters // 4),
            modalities=request.modalities,
            needs=request.needs,
            output_limit=request.output_limit,
            sets_effort=sets_effort(request.body),
        )
