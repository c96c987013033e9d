"""Time of one decision: `python -m bench.decision`.

The prompts are about 100 and 2,000 tokens of English, cut from the docstrings of Python's standard library, which is
available everywhere; the first 200 are for warm-up. Also measured: the stages of a decision, alternatives to them
(MiniLM for the encoder, which needs the extra `train`; a `predict` call of scikit-learn for the predictor), resident
memory, and the prompts per second of `route score`. With `--compare`, decisions with the compiled kernel
and without, in turn. Set OMP_NUM_THREADS=1 to measure one core.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import os
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
from router.perceive import kernel
from router.perceive.features import Perceiver, vector_width
from router.perceive.predictor import Predictor
from router.perceive.text.text_features import surface_features
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
    """Print one row per stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1_000)
    parser.add_argument(
        "--compare", action="store_true", help="decisions with the compiled kernel and without, in turn"
    )
    parser.add_argument("--decisions", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    rounds = options.rounds
    if options.decisions:
        print_decisions(rounds)
        return
    if options.compare:
        compare(rounds)
        return
    print(f"reads and forecasts with: {kernel.status()}")
    print(f"resident memory of encoder and predictor: {resident_mb():.0f} MB\n")
    router = Router.default()
    for tokens, words, count in ((100, WORDS, rounds), (2_000, MANY_WORDS, max(rounds // 4, 1))):
        requests = [ChatRequest.from_prompt(text) for text in texts(count + WARM_UP, words)]
        counted = (router.predictor.encoder.count_tokens(request.turns[0].text) for request in requests)
        print(f"{count} prompts of about {tokens} tokens (median {statistics.median(counted):.0f}), one thread")
        print(f"{'':44s}{'p50 ms':>9s}{'p99 ms':>9s}")
        perceiving(router, requests)
        for size in SIZES:
            deciding(Router(many_cards(router.catalog, size), router.policies, router.predictor), requests)
        print()
    requests = [ChatRequest.from_prompt(text) for text in texts(rounds + WARM_UP)]
    report(f"decision, {len(router.catalog)} cards", router.route, requests)
    report(
        "decision, --flags size<9B,cheapest",
        lambda request: router.route(request, flags="size<9B,cheapest"),
        requests,
    )
    planned = msgspec.structs.replace(router.policies.named("default"), plans=router.plans.ids)
    report(
        f"decision, with {len(router.plans)} plans",
        lambda request: router.route(request, policy=planned),
        requests,
    )
    alternatives(router, requests)
    scoring(router.predictor)


def print_decisions(rounds: int) -> None:
    """Print one JSON object: the median and the 99th percentile of decisions in ms, and prompts/s of `route score`."""
    router = Router.default()
    found: dict[str, list[float]] = {}
    for words, size, count in (
        (WORDS, SIZES[0], rounds),
        (WORDS, SIZES[1], max(rounds // 4, 1)),
        (MANY_WORDS, SIZES[0], max(rounds // 4, 1)),
    ):
        of_size = Router(many_cards(router.catalog, size), router.policies, router.predictor)
        requests = [ChatRequest.from_prompt(text) for text in texts(count + WARM_UP, words)]
        tokens = 100 if words == WORDS else 2_000
        found[f"{tokens} tokens, {size} cards"] = percentiles(of_size.route, requests)
    print(json.dumps(found))


def compare(rounds: int) -> None:
    """Three rounds of decisions with the compiled kernel and without, in turn; the medians of both."""
    taken: dict[str, list[dict[str, list[float]]]] = {"on": [], "off": []}
    for _ in range(3):
        for choice, rows in taken.items():
            environment = {**os.environ, kernel.VARIABLE: choice}
            command = [sys.executable, "-m", "bench.decision", "--decisions", "--rounds", str(rounds)]
            done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
            rows.append(json.loads(done.stdout))
    print(f"{'decision, p50 / p99 ms, medians of three':44s}{'compiled':>18s}{'numpy':>18s}{'ratio':>8s}")
    for name in taken["on"][0]:
        cells = [[statistics.median(row[name][at] for row in taken[choice]) for at in (0, 1)] for choice in taken]
        shown = "".join(f"{middle:9.3f} /{last:7.3f}" for middle, last in cells)
        print(f"{name:44s}{shown}{cells[1][0] / cells[0][0]:7.1f}×")


def perceiving(router: Router, requests: Sequence[ChatRequest]) -> None:
    """Time the features of a request, and the two parts that take longest."""
    encoder = router.predictor.encoder
    perceive = Perceiver(encoder, router.predictor.reader)
    report("perceive: total", perceive, requests)
    report("  encode", lambda request: encoder.encode([request.turns[0].text]), requests)
    report("  surface features", lambda request: surface_features(request.turns[0].text), requests)


def deciding(router: Router, requests: Sequence[ChatRequest]) -> None:
    """Time the stages from features to a decision, separately and together."""

    def decide_alone(_: ChatRequest) -> object:
        return decide(router.catalog, features[0], forecast, policy, flags, "")

    perceive = Perceiver(router.predictor.encoder, router.predictor.reader)
    forecaster = router.predictor.bind(router.catalog)
    features = [perceive(request) for request in requests]
    forecast = forecaster(features[0])
    policy = router.policies.named("default")
    flags = parse_flags("")
    size = len(router.catalog)
    report(f"forecast, {size} cards", forecaster, features)
    report(f"decide, {size} cards", decide_alone, requests)
    report(f"perceive and forecast, {size} cards", lambda request: forecaster(perceive(request)), requests)
    report(f"decision, {size} cards", router.route, requests)


def scoring(predictor: Predictor) -> None:
    """Time `route score`: files of prompts, from text to the expected quality of every model of the artifact."""
    prompts = [Prompt(str(number), (text,)) for number, text in enumerate(texts(SCORED))]
    with tempfile.TemporaryDirectory() as folder:
        wall, cpu = time.perf_counter(), time.process_time()
        write_scores(predictor, prompts, Path(folder) / "scores.csv")
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(
        f"\nroute score, {len(prompts)} prompts × {len(predictor.models)} models: "
        f"{len(prompts) / wall:.0f} prompts/s, {len(prompts) / cpu:.0f} prompts per CPU second"
    )


def resident_mb() -> float:
    """The memory in MB by which a new process grows when it loads encoder and predictor and makes one forecast."""
    script = "import bench.decision as bench; bench.print_resident()"
    return float(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout)


def print_resident() -> None:
    """Print the growth of resident memory in MB; `resident_mb` runs this in a new process."""
    before = _resident_mb()
    predictor = load_predictor()
    predictor.expect(Perceiver(predictor.encoder, predictor.reader)(ChatRequest.from_prompt("What is 17 * 23?")).vector)
    print(_resident_mb() - before)


def _resident_mb() -> float:
    # The peak, which every Unix reports: macOS in bytes, others in KiB.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e6 / 1024)


def alternatives(router: Router, requests: Sequence[ChatRequest]) -> None:
    """Time alternatives to the encoder and the predictor."""
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
    report("instead of the encoder: MiniLM", lambda request: encoder.encode([request.turns[0].text]), requests[:240])


def report(name: str, call: Callable[[Any], object], inputs: Sequence[Any]) -> None:
    """Time `call` on each input after the first ones, which are for warm-up; print median and 99th percentile."""
    middle, last = percentiles(call, inputs)
    print(f"{name:44s}{middle:9.3f}{last:9.3f}", flush=True)


def percentiles(call: Callable[[Any], object], inputs: Sequence[Any]) -> list[float]:
    """The median and the 99th percentile in ms of `call` on each input after the first ones."""
    for value in inputs[:WARM_UP]:
        call(value)
    times = []
    for value in inputs[WARM_UP:]:
        start = time.perf_counter()
        call(value)
        times.append((time.perf_counter() - start) * 1e3)
    return [float(np.percentile(times, share)) for share in (50, 99)]


def many_cards(catalog: Catalog, count: int) -> Catalog:
    """A catalogue of `count` cards: the models of `catalog`, repeated under different ids."""
    # Without efforts, which would add candidates to the copies.
    cards = [msgspec.structs.replace(card, efforts=None) for card in catalog if card.kind == "model"]
    cards = [card for card in cards if card.effort_of is None]
    copies = (cards[number % len(cards)] for number in range(count))
    return Catalog(
        msgspec.structs.replace(card, id=f"{card.id}:{number}", aliases=(card.id,) if number < len(cards) else ())
        for number, card in enumerate(copies)
    )


def texts(count: int, length: int = WORDS) -> list[str]:
    """`count` different excerpts of `length` words from docstrings; after the last word they go on from the first ones,
    at other offsets.
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
