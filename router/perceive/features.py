"""Features of a request: the embedding of the human's turns, then surface features of the newest one.

The embedding is that of the newest turn plus, as far as it depends on them (`router.perceive.text.dependence`), those
of the turns before it: "and in Python?" has the topic of the question before, an ask of its own has only its own topic.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np

from router.perceive import kernel
from router.perceive.reader import READINGS, Context, Reader, around
from router.perceive.text import text_features
from router.perceive.text.dependence import DEPENDENT, dependence
from router.perceive.text.encoder import MAX_CHARACTERS, Encoder, StaticEncoder, tokens_beside, tokens_of_pieces, unit
from router.perceive.text.human_text import human_text
from router.perceive.text.text_features import WIDTH, surface_features
from router.types import UNKNOWN_DEPENDENCE, Features, Floats
from router.wire.chat.request import ChatRequest, Turn
from router.wire.effort import thinking_scale
from router.wire.reading.indivisible import indivisible_in

VERSION = 2
"""Version of the features. Raise it when the same turns get another vector, so that cached vectors are discarded."""

_MAX_TURNS = 6
_MAX_SEARCHED_TURNS = 30
"""How many turns to read, newest first, whatever the length of the conversation. Most are not human text, since agents
send the results of their tools as turns of the user."""

_GREATEST_WEIGHT = 4.0
_LEAST_WEIGHT = 0.02
"""Turns with less weight than this are left out."""

_SEARCHED_TURNS, _SEARCHED_CHARACTERS = 3, 2_000
_SPEAKERS = ("user", "assistant")
"""How many turns before the newest one to search for its words, how much of each, and whose."""


def vector_width(encoder: Encoder) -> int:
    """The length of `feature_vector` without a reading."""
    return encoder.dimensions + WIDTH


def feature_vector(
    encoder: Encoder, turns: tuple[str, ...], reader: Reader | None = None, context: Context | None = None
) -> Floats:
    """float32 `(vector_width(encoder),)` for the human turns of a conversation, oldest first; with a reader, followed
    by its reading.

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
    topics = [_topic(turns) for turns in conversations]
    embedded, width = encoder.dimensions, vector_width(encoder)
    vectors = np.empty((len(topics), width + (0 if reader is None else READINGS)), dtype=np.float32)
    of_each: Sequence[Context | None] = contexts or [None] * len(topics)
    if (compiled := _compiled(encoder, reader)) is not None:
        # Without contexts most of them are read in one call, while other threads run.
        left = compiled.all_that_stand_alone(topics, vectors) if contexts is None else range(len(topics))
        for row in left:
            compiled(topics[row], of_each[row], vectors[row])
        return vectors
    embeddings = encoder.encode([text for topic in topics for text in topic.texts])
    end = 0
    for vector, topic, context in zip(vectors, topics, of_each, strict=True):
        start, end = end, end + len(topic.texts)
        vector[:embedded] = _weighted(embeddings[start:end], topic.weights)
        vector[embedded:width] = surface_features(topic.texts[-1][:MAX_CHARACTERS], topic.turns)
        if reader is not None:
            vector[width:] = reader(topic.texts, vector[:width], context)
    return vectors


class _Compiled:
    """The compiled form of `feature_vectors`: one call for a conversation, or for many prompts."""

    def __init__(self, encoder: StaticEncoder, prompts: Any) -> None:
        self._encoder, self._read, self._read_all = encoder, prompts.read, prompts.read_all

    def __call__(self, topic: _Topic, context: Context | None, out: Floats) -> int:
        """Write the feature vector to `out`; returns the number of word pieces of the newest text, and where it has
        words of the lexicon, minus one and minus the number of the pieces of the others.
        """
        texts, found = topic.texts, around(topic.texts, None) if context is None else context
        text = texts[0] if len(texts) == 1 else "\n".join(texts)
        facts = texts, topic.weights, text, topic.turns, found.characters, found.turns, found.tools
        pieces = self._read(*facts, self._encoder.bounded_memo(), out)
        if isinstance(pieces, int):
            return pieces
        read = self._read
        counted: int = self._encoder.remembering(lambda memo: read(*facts, memo, out), pieces)
        return counted

    def all_that_stand_alone(self, topics: Sequence[_Topic], out: Floats) -> list[int]:
        """Write the feature vectors of topics of one text to `out`; returns the rows of all others, and of those for
        which the kernel has to ask Python.
        """
        texts = tuple(topic.texts[0] if len(topic.texts) == 1 else None for topic in topics)
        left: list[int] = self._read_all(texts, tuple(topic.turns for topic in topics), out)
        return left


def _compiled(encoder: Encoder, reader: Reader | None) -> _Compiled | None:
    """None where numpy is used, as with a subclass, which may encode in another way."""
    if (extension := kernel.extension()) is None or type(encoder) is not StaticEncoder or encoder.bound is None:
        return None
    if reader is not None and reader.bound is None:
        return None
    surface = text_features.bound(extension)
    of_reader = None if reader is None else reader.bound
    return _Compiled(encoder, extension.Prompts(encoder.bound.pieces, encoder.bound.table, surface, of_reader))


def topic_texts(turns: tuple[str, ...]) -> tuple[str, ...]:
    """The texts of a conversation's human turns that say what it is about, oldest first."""
    return _topic(turns).texts


def context_of(request: ChatRequest) -> Context:
    """What stands around the human's turns of `request`."""
    return Context(request.characters + request.tool_characters, len(request.turns), "tools" in request.needs)


class _Topic(NamedTuple):
    """What a conversation is about: texts, oldest first, with their weights, and the number of its human turns."""

    texts: tuple[str, ...]
    weights: tuple[float, ...]
    turns: int


def _topic(turns: tuple[str, ...]) -> _Topic:
    """The newest turn and the turns on which it depends.

    What went before a turn weighs as much, compared with the turn, as the odds of its dependence. Earlier follow-ups
    are left out: they have no topic of their own.
    """
    if len(turns) == 1:
        return _Topic((human_text(turns[0]) or turns[0],), (1.0,), 1)
    searched = turns[-_MAX_SEARCHED_TURNS:]
    human = tuple(filter(None, map(human_text, searched))) or searched
    texts: list[str] = []
    weights: list[float] = []
    weight = 1.0
    for turn, before in itertools.pairwise(("", *human)[::-1]):
        degree = dependence(turn, (before[:_SEARCHED_CHARACTERS],)) if before else 0.0
        if texts and degree >= DEPENDENT:
            continue
        texts.append(turn)
        weights.append(weight)
        weight *= min(degree / (1.0 - degree), _GREATEST_WEIGHT)
        if weight < _LEAST_WEIGHT or len(texts) == _MAX_TURNS:
            break
    return _Topic(tuple(texts[::-1]), tuple(weights[::-1]), len(human))


def _weighted(embeddings: Floats, weights: Sequence[float]) -> Floats:
    """The embedding of a conversation from those of its turns."""
    if len(embeddings) == 1:
        newest: Floats = embeddings[0]
        return newest
    return unit((embeddings * np.array(weights, dtype=np.float32)[:, None]).sum(axis=0))


def _dependence(turns: Sequence[Turn]) -> float:
    """How much the newest turn of a conversation depends on what went before it."""
    newest = turns[-1]
    text = human_text(newest.text)
    if newest.role != "user" or (not text and newest.text.strip()):
        # The result of a tool, or text of a harness: the model still works on the same ask.
        return 1.0
    if not text:
        # An image, for example: nothing is written that could refer to what went before.
        return UNKNOWN_DEPENDENCE
    before = turns[-1 - _SEARCHED_TURNS : -1]
    return dependence(text, [turn.text[:_SEARCHED_CHARACTERS] for turn in before if turn.role in _SPEAKERS])


class _Whole(Protocol):
    """What a part has in common with its prompt: how much a model may think, and who reads it."""

    @property
    def thinking_scale(self) -> float: ...
    @property
    def reader(self) -> str: ...


def part_features(vector: Floats, input_tokens: int, whole: _Whole) -> Features:
    """The features of one task of a prompt."""
    return Features(
        vector=vector,
        input_tokens=input_tokens,
        modalities=frozenset({"text"}),
        needs=frozenset(),
        thinking_scale=whole.thinking_scale,
        reader=whole.reader,
    )


class Perceiver:
    """Computes the features of requests with one encoder, and a reader if the predictor has one."""

    def __init__(self, encoder: Encoder, reader: Reader | None = None) -> None:
        self._encoder, self._reader = encoder, reader
        self._compiled = _compiled(encoder, reader)
        self._width = vector_width(encoder) + (0 if reader is None else READINGS)

    def with_parts(self, features: Features, parts: Sequence[str]) -> Features:
        """`features` with those of the tasks of which the newest turn consists."""
        vectors = feature_vectors(self._encoder, [(part,) for part in parts], self._reader)
        tokens = map(self._encoder.count_tokens, parts)
        of_parts = tuple(part_features(vector, count, features) for vector, count in zip(vectors, tokens, strict=True))
        return msgspec.structs.replace(features, parts=of_parts)

    def __call__(self, request: ChatRequest, *, continues: bool = False) -> Features:
        """The features of `request`; those of its dependence only where it `continues` a conversation."""
        human = request.human_turns
        vector, newest_tokens = self._read(human, context_of(request))
        other_characters = request.characters - len(human[-1]) + request.tool_characters
        return Features(
            vector=vector,
            input_tokens=newest_tokens + -(-other_characters // 4),
            modalities=request.modalities,
            needs=request.needs,
            output_limit=request.output_limit,
            thinking_scale=thinking_scale(request.body),
            dependence=_dependence(request.turns) if continues else UNKNOWN_DEPENDENCE,
            reader="" if self._reader is None else self._reader.id,
            indivisible=indivisible_in(request.body),
        )

    def _read(self, human: tuple[str, ...], context: Context) -> tuple[Floats, int]:
        """The feature vector of human turns, and the tokens of the newest one."""
        if self._compiled is None:
            vector = feature_vector(self._encoder, human, self._reader, context)
            return vector, self._encoder.count_tokens(human[-1])
        topic, vector = _topic(human), np.empty(self._width, dtype=np.float32)
        pieces = self._compiled(topic, context, vector)
        newest = topic.texts[-1]
        if newest != human[-1]:
            # Text of a harness is no part of the topic.
            return vector, self._encoder.count_tokens(human[-1])
        if pieces < 0:
            pieces = tokens_beside(newest, -1 - pieces)
        return vector, tokens_of_pieces(newest, pieces)
