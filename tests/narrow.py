"""An encoder with which training is quick, and a predictor trained with it. Who imports these fixtures has them in
place of the shipped encoder and of what is trained with that.
"""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from router.learn.data import RoutingSet
from router.learn.training.train import train
from router.perceive.predictor import Predictor
from router.perceive.text.encoder import StaticEncoder

_DIMENSIONS = 64


def narrowed(encoder: StaticEncoder) -> StaticEncoder:
    """The encoder without most of its dimensions: training takes a quarter of the time, files are a fraction as large,
    and forecasts of the planted set are as good.
    """
    _, (card, rows, *words) = encoder.__reduce__()
    hashes = card.sha256 | {"vectors.npy": f"the first {_DIMENSIONS} dimensions"}
    card = msgspec.structs.replace(card, dimensions=_DIMENSIONS, sha256=hashes)
    return StaticEncoder(card, np.ascontiguousarray(rows[:, :_DIMENSIONS]), *words)


@pytest.fixture(scope="session")
def encoder(encoder: StaticEncoder) -> StaticEncoder:
    """The shipped encoder, narrowed."""
    return narrowed(encoder)


@pytest.fixture(scope="session")
def predictor(planted_set: RoutingSet, encoder: StaticEncoder) -> Predictor:
    """A predictor trained on the planted set, with this encoder."""
    return train([planted_set], encoder)


@pytest.fixture(scope="session")
def narrow_encoder(encoder: StaticEncoder) -> StaticEncoder:
    """The shipped encoder, narrowed, where `encoder` stays the whole one."""
    return narrowed(encoder)


@pytest.fixture
def narrow_loaded(narrow_encoder: StaticEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """What loads the shipped encoder, such as a command, gets it narrowed. Artifacts that were trained with the whole
    one, such as the shipped artifact, cannot be loaded then.
    """
    monkeypatch.setattr("router.loading._static_encoder", lambda _: narrow_encoder)
