"""Encoders and predictors by name and folder."""

from __future__ import annotations

from pathlib import Path

from router import settings
from router.errors import CallerError
from router.perceive.encoder import Encoder, StaticEncoder
from router.perceive.predictor import Predictor, encoder_name

STATIC = "static"


def load_encoder(name: str) -> Encoder:
    """The encoder of this name: `static`, or a sentence-transformers model."""
    if not name.strip():
        raise CallerError("the encoder needs a name: static, or a sentence-transformers model")
    if name == STATIC:
        return StaticEncoder.load(settings.default_encoder_folder())
    from router.perceive.sentence_encoder import SentenceEncoder

    return SentenceEncoder(name)


def load_predictor(folder: Path) -> Predictor:
    """The artifact in `folder` with its encoder. Raises ArtifactError."""
    return Predictor.load(folder, load_encoder(encoder_name(folder)))
