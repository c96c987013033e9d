"""How long one decision takes: `python -m bench.decision`.

Prompts are about 100 tokens of English, cut from the docstrings of Python's standard library, so that everybody has
them. No two are the same, and the first 200 only warm up. Beside the whole decision stand its stages, and what they
replace: MiniLM for the encoder (extra `train`) and a `predict` call of scikit-learn for the head.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import statistics
import time
from collections.abc import Callable, Iterator, Sequence

import msgspec
import numpy as np

from router.cards import Catalog
from router.commands import options
from router.decide.engine import decide
from router.decide.flags import parse_flags
from router.errors import MissingExtraError
from router.perceive.features import Perceiver
from router.pipeline import Router
from router.types import ChatRequest

WORDS = 78
SIZES = (100, 1_000, 10_000)
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
    router = options.load_router(None, None, None)
    requests = [ChatRequest.from_prompt(text) for text in texts(rounds + 200)]
    tokens = statistics.median(router.predictor.encoder.count_tokens(text) for text in texts(100))
    print(f"{rounds} prompts of {tokens:.0f} tokens (median), {len(router.catalog)} cards, one thread\n")
    print(f"{'':44s}{'p50 ms':>9s}{'p99 ms':>9s}")
    whole(router, requests)
    stages(router, requests)
    for size in SIZES:
        bigger = Router(many_cards(router.catalog, size), router.policies, router.predictor)
        report(
            f"decision, {size} cards",
            bigger.route,
            requests[: 200 + rounds // 4],
        )
    alternatives(router, requests)


def whole(router: Router, requests: Sequence[ChatRequest]) -> None:
    """The decision as a request meets it, with and without flags."""
    report("decision, default policy", router.route, requests)
    report(
        "decision, --flags size<9B,cheapest",
        lambda each: router.route(each, flags="size<9B,cheapest"),
        requests,
    )


def stages(router: Router, requests: Sequence[ChatRequest]) -> None:
    """Each stage by itself."""

    def decide_alone(_: ChatRequest) -> object:
        return decide(router.catalog, features, forecast, policy, flags, "")

    perceive = Perceiver(router.predictor.encoder)
    forecaster = router.predictor.bind(router.catalog)
    features = perceive(requests[0])
    forecast = forecaster(features)
    policy = router.policies.named("default")
    flags = parse_flags("")
    report("  perceive: tokenise, embed, surface", perceive, requests)
    report("  forecast: quality, cost, latency", lambda _: forecaster(features), requests)
    report("  decide", decide_alone, requests)


def alternatives(router: Router, requests: Sequence[ChatRequest]) -> None:
    """What the encoder and the head replace."""
    from sklearn.linear_model import Ridge

    width, models = router.predictor.head.weights.shape
    random = np.random.default_rng(0)
    ridge = Ridge().fit(random.normal(size=(500, width)), random.normal(size=(500, models)))
    vector = random.normal(size=(1, width))
    report("instead of the head: sklearn Ridge.predict", lambda _: ridge.predict(vector), requests)
    try:
        encoder = options.load_encoder("all-MiniLM-L6-v2")
    except MissingExtraError as error:
        print(f"instead of the encoder: skipped ({error})")
        return
    report("instead of the encoder: MiniLM", lambda each: encoder.encode([each.turns[0].text]), requests[:240])


def report(name: str, call: Callable[[ChatRequest], object], requests: Sequence[ChatRequest]) -> None:
    """Time `call` on each request; the first 200 only warm up."""
    for request in requests[:200]:
        call(request)
    times = []
    for request in requests[200:]:
        start = time.perf_counter()
        call(request)
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


def texts(count: int) -> list[str]:
    """`count` different pieces of docstrings, WORDS words each."""
    words = list(_words())
    needed = count * WORDS
    if len(words) < needed:
        words *= -(-needed // len(words))
    return [" ".join(words[first : first + WORDS]) for first in range(0, needed, WORDS)]


def _words() -> Iterator[str]:
    for name in _MODULES:
        for _, member in sorted(vars(importlib.import_module(name)).items()):
            if inspect.isfunction(member) or inspect.isclass(member):
                yield from (inspect.getdoc(member) or "").split()


if __name__ == "__main__":
    main()
