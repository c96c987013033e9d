"""Load what a `Router` needs: encoder, predictor, catalogue, policies and evidence."""

from __future__ import annotations

import functools
from pathlib import Path

from router import settings
from router.cards.catalog import load_catalog
from router.cards.machine.speeds import read_speeds
from router.compose.learned import GateFile, LearnedGate, load_gate
from router.decide.plans.catalog import load_plans
from router.decide.plans.forecast.columns import Columns
from router.decide.policy import load_policies
from router.errors import ArtifactError, CallerError
from router.formats.yaml.parsed import remembered
from router.perceive.ability.evidence import load_evidence
from router.perceive.head import encoder_name
from router.perceive.predictor import Predictor
from router.perceive.purpose.profile_file import load_profiles
from router.perceive.text.encoder import Encoder, StaticEncoder
from router.pipeline import Router


def load_encoder(name: str) -> Encoder:
    """The encoder of this name: `static`, or a sentence-transformers model. Raises CallerError for an empty name."""
    if not name.strip():
        raise CallerError("the encoder needs a name: static, or a sentence-transformers model")
    if name == settings.STATIC_ENCODER:
        return _static_encoder(settings.default_encoder_folder())
    from router.perceive.text.sentence_encoder import SentenceEncoder

    return SentenceEncoder(name)


@functools.lru_cache(maxsize=1)
def _static_encoder(folder: Path) -> StaticEncoder:
    """Loaded once: it is large, and the same for every predictor. Workers get it from the process that forks them."""
    return StaticEncoder.load(folder)


def load_predictor(folder: Path | None = None) -> Predictor:
    """The artifact in `folder`, or the default one, with its encoder. Raises ArtifactError."""
    folder = folder or settings.default_artifact_folder()
    return Predictor.load(folder, load_encoder(encoder_name(folder)))


def load_plan_gate(folder: Path | None = None) -> LearnedGate:
    """The gate of the plans: that of the artifact in `folder`, or the package's where the artifact has none.

    Raises ArtifactError.
    """
    return _gate_file(folder).gate()


def load_plan_columns(folder: Path | None = None) -> Columns:
    """What plans achieved on the answers from which their gate was learned: that of `load_plan_gate`.

    Raises ArtifactError.
    """
    return Columns(_gate_file(folder).columns)


def _gate_file(folder: Path | None) -> GateFile:
    own = load_gate(folder or settings.default_artifact_folder())
    if own is None and (own := load_gate(settings.shipped_artifact_folder())) is None:
        raise ArtifactError(f"{settings.shipped_artifact_folder()}: the gate of the package is missing; install again")
    return own


def load_router(cards: Path | None = None, policies: Path | None = None, artifact: Path | None = None) -> Router:
    """A router made from these folders, or the default ones, the profiles beside the cards, and the default evidence.

    Raises ConfigurationError naming file, line and key.
    """
    predictor = load_predictor(artifact)
    folder, observed = cards or settings.default_cards_folder(), settings.default_evidence_folder()
    with remembered(settings.parsed_file()):
        catalog = load_catalog(folder).with_speeds(read_speeds(observed))
        plans = load_plans(settings.default_plans_folder(), catalog)
        loaded = load_policies(policies or settings.default_policies_folder(), catalog, plans)
    profiles = load_profiles(settings.profiles_folder(folder))
    evidence = predictor.evidence_of(load_evidence(observed), profiles)
    return Router(catalog, loaded, predictor, evidence, plans.with_columns(load_plan_columns(artifact)))
