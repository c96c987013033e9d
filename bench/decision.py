"""How long one decision takes: `python -m bench.decision`.

Prompts are about 100 and 2,000 tokens of English, cut from the docstrings of Python's standard library, so that
everybody has them, and the first 200 only warm up. Beside the whole decision stand its stages, what they replace
(MiniLM for the encoder, extra `train`; a `predict` call of scikit-learn for the predictor), the memory they take, and
how many prompts a second `route score` reads. For one core set OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from router import Router
from router.cards import Catalog
from router.decide.engine import decide
from router.decide.flags import parse_flags
from router.errors import MissingExtraError
from router.learn.data import Prompt
from router.learn.evaluation.score import write_scores
from router.loading import load_encoder, load_predictor
from router.perceive.features import Perceiver, vector_width
from router.perceive.predictor import Predictor
from router.perceive.text_features import surface_features
from router.wire.chat.request import ChatRequest

WORDS, MANY_WORDS = 62, 1_200
"""About 100 and 2,000 tokens of such text."""
SIZES = (100, 10_000)
WARM_UP = 200
SCORED = 10_000
_MODULES = [
    "argparse",
    "ast",
    "asyncio",
    "calendar",
    "collections",
    "concurrent.futures",
    "configparser",
    "csv",
    "ctypes",
    "datetime",
    "decimal",
    "difflib",
    "doctest",
    "email.message",
    "fractions",
    "functools",
    "gettext",
    "heapq",
    "http.client",
    "imaplib",
    "inspect",
    "ipaddress",
    "json",
    "logging",
    "mailbox",
    "multiprocessing",
    "numbers",
    "optparse",
    "os",
    "pathlib",
    "pickle",
    "pdb",
    "plistlib",
    "pprint",
    "random",
    "re",
    "shutil",
    "smtplib",
    "socket",
    "sqlite3",
    "statistics",
    "string",
    "subprocess",
    "tarfile",
    "tempfile",
    "textwrap",
    "threading",
    "traceback",
    "typing",
    "unittest",
    "unittest.mock",
    "urllib.request",
    "uuid",
    "zipfile",
]


def main() -> None:
    """Print one row a stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1_000)
    rounds = parser.parse_args().rounds
    print(f"resident memory of encoder and predictor: {resident_mb():.0f} MB\n")
    router = Router.default()
    for tokens, words, count in ((100, WORDS, rounds), (2_000, MANY_WORDS, max(rounds // 4, 1))):
        requests = [ChatRequest.from_prompt(text) for text in texts(count + WARM_UP, words)]
        found = statistics.median(router.predictor.encoder.count_tokens(each.turns[0].text) for each in requests)
        print(f"{count} prompts of about {tokens} tokens ({found:.0f}, the median), one thread")
        print(f"{'':44s}{'p50 ms':>9s}{'p99 ms':>9s}")
        perceiving(router, requests)
        for size in SIZES:
            deciding(Router(many_cards(router.catalog, size), router.policies, router.predictor), requests)
        print()
    requests = [ChatRequest.from_prompt(text) for text in texts(rounds + WARM_UP)]
    report(f"decision, {len(router.catalog)} cards", router.route, requests)
    report(
        "decision, --flags size<9B,cheapest",
        lambda each: router.route(each, flags="size<9B,cheapest"),
        requests,
    )
    alternatives(router, requests)
    scoring(router.predictor)


def perceiving(router: Router, requests: Sequence[ChatRequest]) -> None:
    """From a request to its features, and the two parts of it that take longest."""
    encoder = router.predictor.encoder
    perceive = Perceiver(encoder)
    report("perceive: all of it", perceive, requests)
    report("  encode", lambda each: encoder.encode([each.turns[0].text]), requests)
    report("  surface", lambda each: surface_features(each.turns[0].text), requests)


def deciding(router: Router, requests: Sequence[ChatRequest]) -> None:
    """From features to a decision, each stage by itself and all together."""

    def decide_alone(_: ChatRequest) -> object:
        return decide(router.catalog, features[0], forecast, policy, flags, "")

    perceive = Perceiver(router.predictor.encoder)
    forecaster = router.predictor.bind(router.catalog)
    features = [perceive(each) for each in requests]
    forecast = forecaster(features[0])
    policy = router.policies.named("default")
    flags = parse_flags("")
    size = len(router.catalog)
    report(f"forecast, {size} cards", forecaster, features)
    report(f"decide, {size} cards", decide_alone, requests)
    report(f"perceive and forecast, {size} cards", lambda each: forecaster(perceive(each)), requests)
    report(f"decision, {size} cards", router.route, requests)


def scoring(predictor: Predictor) -> None:
    """Whole files of prompts: from text to the expected quality of every model of the artifact."""
    prompts = [Prompt(str(number), (text,)) for number, text in enumerate(texts(SCORED))]
    with tempfile.TemporaryDirectory() as folder:
        wall, cpu = time.perf_counter(), time.process_time()
        write_scores(predictor, prompts, Path(folder) / "scores.csv")
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(
        f"\nroute score, {len(prompts)} prompts × {len(predictor.models)} models: "
        f"{len(prompts) / wall:.0f} prompts/s, {len(prompts) / cpu:.0f} a second of CPU"
    )


def resident_mb() -> float:
    """How much a fresh process grows by loading encoder and predictor, and forecasting once."""
    script = "import bench.decision as bench; bench.print_resident()"
    return float(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout)


def print_resident() -> None:
    """Print what `resident_mb` asks for, in MB."""
    before = _resident_mb()
    predictor = load_predictor()
    predictor.expect(Perceiver(predictor.encoder)(ChatRequest.from_prompt("What is 17 * 23?")).vector)
    print(_resident_mb() - before)


def _resident_mb() -> float:
    # The peak, which every Unix counts: macOS in bytes, others in KiB.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e6 / 1024)


def alternatives(router: Router, requests: Sequence[ChatRequest]) -> None:
    """What the encoder and the predictor replace."""
    from sklearn.linear_model import Ridge

    width, models = vector_width(router.predictor.encoder), len(router.predictor.models)
    random = np.random.default_rng(0)
    ridge = Ridge().fit(random.normal(size=(500, width)), random.normal(size=(500, models)))
    vector = random.normal(size=(1, width))
    report("instead of the forecast: sklearn Ridge.predict", lambda _: ridge.predict(vector), requests)
    try:
        encoder = load_encoder("all-MiniLM-L6-v2")
    except MissingExtraError as error:
        print(f"instead of the encoder: skipped ({error})")
        return
    report("instead of the encoder: MiniLM", lambda each: encoder.encode([each.turns[0].text]), requests[:240])


def report(name: str, call: Callable[[Any], object], inputs: Sequence[Any]) -> None:
    """Time `call` on each input; the first only warm up."""
    for each in inputs[:WARM_UP]:
        call(each)
    times = []
    for each in inputs[WARM_UP:]:
        start = time.perf_counter()
        call(each)
        times.append((time.perf_counter() - start) * 1e3)
    print(f"{name:44s}{np.percentile(times, 50):9.3f}{np.percentile(times, 99):9.3f}", flush=True)


def many_cards(catalog: Catalog, count: int) -> Catalog:
    """`count` cards: those of the catalogue, again and again under other ids."""
    cards = [card for card in catalog if card.kind == "model"]
    copies = (cards[number % len(cards)] for number in range(count))
    return Catalog(
        msgspec.structs.replace(card, id=f"{card.id}-{number}", aliases=(card.id,) if number < len(cards) else ())
        for number, card in enumerate(copies)
    )


def texts(count: int, length: int = WORDS) -> list[str]:
    """`count` different pieces of docstrings, `length` words each: where the words run out, they begin anew, and the
    pieces elsewhere.
    """
    words = list(_words())
    start = np.arange(count) * length
    return [" ".join(words[first : first + length]) for first in (start % (len(words) - length)).tolist()]


def _words() -> Iterator[str]:
    for name in _MODULES:
        for _, member in sorted(vars(importlib.import_module(name)).items()):
            if inspect.isfunction(member) or inspect.isclass(member):
                yield from (inspect.getdoc(member) or "").split()


if __name__ == "__main__":
    main()
