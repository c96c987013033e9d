"""Fixtures for all tests: the shipped encoder, a synthetic data set, and a predictor trained on it.

The set has arithmetic and poetry prompts, a model that is good at arithmetic, one that is good at poetry, and one that
is mediocre at both. So a router that has learned must distinguish the two kinds of prompt.
"""

from __future__ import annotations

import functools
import gc
import itertools
import os
import sys
import zlib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from router.learn.data import Prompt, RoutingSet
from router.perceive.text.encoder import StaticEncoder
from tests import groups, postgres
from tests.process_state import no_test_changes_the_process, one_tls_context
from tests.warm_start import warm_starts

if TYPE_CHECKING:
    from bench.gateway.processes import Start
    from router.perceive.predictor import Predictor

__all__ = ["no_test_changes_the_process", "one_tls_context"]

# With this package jsonschema compiles 39 grammars at its import, for formats that no schema here has.
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]  # "not installed"
# A deadline would be a timed test, and so would the check that examples are drawn fast enough.
settings.register_profile("pulvinar", max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pulvinar")

ENCODER_FOLDER = Path(__file__).parent.parent / "router" / "shipped" / "encoder"
MODELS = ("calculator", "poet", "generalist")
_CHANCE = {"arithmetic": (0.95, 0.1, 0.6), "poetry": (0.1, 0.95, 0.6)}
_SUMS = (
    "What is {a} plus {b}?",
    "Compute {a} * {b} - {c}.",
    "Solve for x: {a}x + {b} = {c}",
    "Is {a}{b} prime?",
)
_POEMS = (
    "Write a poem about the {thing} in {season}.",
    "Compose a sonnet on love and the {thing}, set in {season}.",
    "Give me a haiku in which the {thing} meets {season} rain.",
)
_THINGS = (
    "moon",
    "river",
    "swallow",
    "lighthouse",
    "orchard",
    "old city",
    "sea",
    "mountain",
    "candle",
    "violin",
)
_SEASONS = ("spring", "summer", "autumn", "winter")


# Each has hundreds of cells that differ in one word. CI runs a third of them, always the same.
_SAMPLED = ("tests/faults/test_fault_matrix.py", "tests/compose/run/test_faults.py")
_ONE_OF = 3
# Of the lines that 40 examples reach, 8 miss about a dozen.
_COVERED_EXAMPLES = 16


def pytest_configure(config: pytest.Config) -> None:
    # The groups of a parallel run start in the order of the tests, and not those with the most tests first.
    config.option.loadscopereorder = False


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    # Next to nothing of what is imported and collected is garbage.
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


# Before pytest-xdist reads the groups.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what CI does not run; `.ci/run` sets the variable CI. Group the tests of a parallel run."""
    if "CI" in os.environ:
        left_out = {
            item for item in items if item.nodeid.startswith(_SAMPLED) and zlib.crc32(item.nodeid.encode()) % _ONE_OF
        }
        if left_out:
            config.hook.pytest_deselected(items=[item for item in items if item in left_out])
            items[:] = [item for item in items if item not in left_out]
    if config.getoption("loadgroup", default=False):
        groups.group(items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Record coverage of the first random examples only: the others run nearly the same lines, several times slower."""
    coverage = getattr(item.config.pluginmanager.getplugin("_cov"), "cov_controller", None)
    given = getattr(getattr(item, "obj", None), "hypothesis", None)
    if coverage is None or given is None:
        return (yield)
    test, numbers = given.inner_test, itertools.count()

    @functools.wraps(test)
    def counted(*arguments: object, **named: object) -> object:
        if next(numbers) < _COVERED_EXAMPLES:
            return test(*arguments, **named)
        # Of this thread alone: servers in other threads are recorded all the time.
        recorder = sys.gettrace()
        sys.settrace(None)
        try:
            return test(*arguments, **named)
        finally:
            sys.settrace(recorder)

    given.inner_test = counted
    try:
        return (yield)
    finally:
        given.inner_test = test


def pytest_collection_finish() -> None:
    # Modules and tests live as long as the process; no collection of garbage needs to go through them again.
    gc.collect()
    gc.freeze()


def planted(prompts: int = 120, seed: int = 0) -> RoutingSet:
    """A set of distinct prompts, half arithmetic and half poetry, with lengths and costs."""
    rng = np.random.default_rng(seed)
    texts: dict[str, str] = {}
    while len(texts) < prompts:
        if len(texts) % 2:
            text = str(rng.choice(_POEMS)).format(thing=rng.choice(_THINGS), season=rng.choice(_SEASONS))
            texts.setdefault(text, "poetry")
        else:
            a, b, c = rng.integers(10, 999, 3)
            texts.setdefault(str(rng.choice(_SUMS)).format(a=a, b=b, c=c), "arithmetic")
    chances = np.array([_CHANCE[domain] for domain in texts.values()])
    scores = (rng.random(chances.shape) < chances).astype(np.float32)
    lengths = np.where(np.array(list(texts.values()))[:, None] == "poetry", 200, 20) * np.array([1, 2, 1])
    return RoutingSet(
        name="planted",
        license="CC0-1.0",
        sha256="0" * 64,
        prompts=tuple(Prompt(f"p{n}", (text,), domain) for n, (text, domain) in enumerate(texts.items())),
        models=MODELS,
        scores=scores,
        cost_usd=np.broadcast_to(np.float32([1e-4, 3e-4, 1e-3]), scores.shape).copy(),
        output_tokens=lengths.astype(np.float32),
    )


@pytest.fixture(scope="session")
def encoder() -> StaticEncoder:
    """The shipped encoder."""
    return StaticEncoder.load(ENCODER_FOLDER)


@pytest.fixture(scope="session")
def planted_set() -> RoutingSet:
    """The set of 120 prompts; see `planted`."""
    return planted()


@pytest.fixture(scope="session")
def predictor(planted_set: RoutingSet, encoder: StaticEncoder) -> Predictor:
    """A predictor trained on the planted set."""
    # It needs scikit-learn, which takes a second to import.
    from router.learn.training.train import train

    return train([planted_set], encoder)


@pytest.fixture(scope="session")
def warm() -> Iterator[Callable[[Start], Start]]:
    """Makes of a `Start` of `route` one that forks a process which has imported what it needs."""
    with warm_starts() as warm:
        yield warm


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Server]:
    """A real PostgreSQL server. Who kills or pauses it leaves it running."""
    with postgres.running() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: postgres.Server) -> Iterator[str]:
    """The URL of an empty database."""
    with postgres_server.database() as url:
        yield url


@pytest.fixture(scope="session")
def _shared_postgres_url(postgres_server: postgres.Server) -> Iterator[str]:
    with postgres_server.database() as url:
        yield url


@pytest.fixture
def emptied_postgres_url(_shared_postgres_url: str) -> str:
    """The URL of a database without records, which is faster to come by than a new one."""
    from router.store.records.postgres.address import read_address
    from router.store.records.postgres.records import PostgresRecords

    with PostgresRecords.open(read_address(_shared_postgres_url)) as records:
        tables = "records, snapshots, feedback, hours"
        records.connection.run(records.connection.raw.execute(f"TRUNCATE {tables} RESTART IDENTITY"))
    return _shared_postgres_url
