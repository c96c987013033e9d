"""Adapters chosen by the examples on their cards: `python -m bench.adapters --data DIR`.

BBH-27 and CLINC150 as adapter cards of one base, with five unlabelled prompts a card and no outcomes, under the policy
`best`: how often the card of the prompt's own task is chosen, and how many generic prompts are taken from the base;
then with words on the cards, the names of their tasks and those of their neighbours as `not_for`. How often the card of
a CLINC150 prompt is among the first ten, by view. How many prompts a card takes that only 8 or 32 probes are known of,
in a predictor that was trained on outcomes of the other tasks. Then the CPU time of a decision and of the start with
up to 2,000 adapter cards beside the default catalogue, as ratios to those without any. `predictor/purpose.json` names
what the covariances were fitted to; the sets judged here are not among them.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from bench.probed_cards import probed_cards
from router import settings
from router.cards.catalog import Catalog, load_catalog
from router.cards.schema import Card
from router.decide.policy import Policies, load_policies
from router.loading import load_encoder, load_predictor
from router.perceive.predictor import Predictor
from router.perceive.purpose.similar import VIEWS, CardViews
from router.pipeline import Router
from router.wire.chat.request import ChatRequest

EXAMPLES = 5
_COUNTS = (0, 100, 2000)
BASE = Card(id="base", provider="hosted_vllm", model="base")
Labelled = list[tuple[str, str]]


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder of the routing data sets")
    parser.add_argument("--draws", type=int, default=2, help="random draws of the examples")
    arguments = parser.parse_args()
    data: Path = arguments.data
    predictor = load_predictor(settings.shipped_artifact_folder())
    bbh = [(row["domain"], row["prompt"]) for row in _rows(data / "bbh_tasks")]
    clinc = json.loads((data / "clinc150" / "data_full.json").read_text(encoding="utf-8"))
    chat = [row["prompt"] for name in ("alpaca_eval2", "arena_bench_v1") for row in _rows(data / name)][:1000]
    exams = [row["prompt"] for row in _rows(data / "mmlu_pro")[::10]][:1000]
    generic = {"chat": chat, "mmlu_pro": exams}
    print("cards             own task    left to base   taken of 1,000: " + ", ".join(generic))
    for draw in range(arguments.draws):
        random = np.random.default_rng(draw)
        shown, asked = _drawn(bbh, random)
        train, test = ([(label, text) for text, label in clinc[part]] for part in ("train", "test"))
        sets = {"BBH-27": (shown, asked), "CLINC150": (_drawn(train, random)[0], test)}
        for name, (shown, asked) in sets.items():
            cards = _cards(shown)
            _judge(name, predictor, cards, asked, generic)
            # What words add is little; a third of the prompts shows it.
            for words, worded in _worded(predictor, cards).items():
                _judge(f"{name}{words}", predictor, worded, asked[::3], {})
    _recall(predictor, _with_words(predictor, cards), test)
    probed_cards(data / "bbh_tasks", load_encoder(settings.STATIC_ENCODER))
    _print_times(predictor, bbh, chat[:200])


def _judge(
    name: str, predictor: Predictor, cards: Sequence[Card], asked: Labelled, generic: dict[str, list[str]]
) -> None:
    router = _router(predictor, cards, _policies())
    chosen = [_choice(router, text) for _, text in asked]
    right = sum(card == _id(label) for card, (label, _) in zip(chosen, asked, strict=True)) / len(asked)
    left = chosen.count("base") / len(asked)
    taken = [sum(_choice(router, text) != "base" for text in texts) / len(texts) for texts in generic.values()]
    print(f"{name:18}{right:.3f}{left:13.3f}{'':12}" + ", ".join(f"{100 * share:.1f} %" for share in taken), flush=True)


def _worded(predictor: Predictor, cards: Sequence[Card]) -> dict[str, Sequence[Card]]:
    """The cards without words, with words, and with `not_for`, too."""
    return {
        " (a third)": cards,
        " words": _with_words(predictor, cards),
        " not_for": _with_words(predictor, cards, not_for=True),
    }


def _with_words(predictor: Predictor, cards: Sequence[Card], *, not_for: bool = False) -> list[Card]:
    """The cards with the name of their task as `description`, and that of the most similar card as `not_for`."""
    nearest: dict[str, str] = {}
    for pair in CardViews(predictor.purpose_space, cards).pairs(0.0):
        nearest.setdefault(pair.one, pair.other)
        nearest.setdefault(pair.other, pair.one)

    def worded(card: Card) -> Card:
        others = (nearest[card.id].replace("_", " "),) if not_for else ()
        return msgspec.structs.replace(card, description=card.id.replace("_", " "), not_for=others)

    return [worded(card) for card in cards]


def _recall(predictor: Predictor, cards: Sequence[Card], asked: Labelled) -> None:
    """How often the card of a prompt is among the first ten, by each view and by all of them."""
    views = CardViews(predictor.purpose_space, cards)
    lists = [(_id(label), views.shortlist(text, most=len(cards))) for label, text in asked]
    among = {view: sum(any(at.card == own and view in at.views for at in of) for own, of in lists) for view in VIEWS}
    among["all"] = sum(own in [at.card for at in of[:10]] for own, of in lists)
    shown = ", ".join(f"{view} {count / len(asked):.3f}" for view, count in among.items())
    print(f"among the first ten of {len(cards)} cards: {shown}", flush=True)


def _print_times(predictor: Predictor, bbh: Labelled, prompts: Sequence[str]) -> None:
    """The CPU time of decisions and of the start, in ratios to the default catalogue alone."""
    stated = load_catalog(settings.default_cards_folder()).stated
    default = [card for card in stated if card.effort_of is None]
    requests = [ChatRequest.from_body({"messages": [{"role": "user", "content": text}]}) for text in prompts]
    routers: dict[int, Router] = {}
    start_s: dict[int, float] = {}
    for count in _COUNTS:
        catalog = Catalog([*default, BASE, *_adapters(count, bbh)])
        begin = time.process_time()
        routers[count] = Router(catalog, _policies(), predictor)
        start_s[count] = time.process_time() - begin
    times: dict[int, list[float]] = {count: [] for count in _COUNTS}
    # In turn, so that what else the machine does meets all alike.
    for request in requests * 2:
        for count, router in routers.items():
            begin = time.process_time()
            router.route(request, policy="best")
            times[count].append(1e3 * (time.process_time() - begin))
    usual_ms = {count: statistics.median(each) for count, each in times.items()}
    for count in _COUNTS:
        print(
            f"{count:5} adapters beside {len(default)} cards: {usual_ms[count] / usual_ms[0]:.2f} times the CPU of a"
            f" decision ({usual_ms[count]:.2f} ms), {start_s[count] / start_s[0]:.1f} times that of the start"
            f" ({start_s[count]:.2f} s)",
            flush=True,
        )


def _adapters(count: int, bbh: Labelled) -> list[Card]:
    """So many adapter cards, each with examples of any tasks."""
    random = np.random.default_rng(0)
    texts = [text for _, text in bbh]
    return [
        Card(
            id=f"adapter-{number:04}",
            kind="adapter",
            base="base",
            provider="hosted_vllm",
            model=f"adapter-{number}",
            examples=tuple(texts[at] for at in random.choice(len(texts), EXAMPLES, replace=False)),
        )
        for number in range(count)
    ]


def _router(predictor: Predictor, cards: Sequence[Card], policies: Policies) -> Router:
    return Router(Catalog([BASE, *cards]), policies, predictor)


def _policies() -> Policies:
    return load_policies(settings.default_policies_folder(), load_catalog(settings.default_cards_folder()))


def _choice(router: Router, text: str) -> str:
    request = ChatRequest.from_body({"messages": [{"role": "user", "content": text}]})
    return router.route(request, policy="best").decision.card


def _drawn(labelled: Labelled, random: np.random.Generator) -> tuple[Labelled, Labelled]:
    """`EXAMPLES` prompts of each label, and the others."""
    order = random.permutation(len(labelled)).tolist()
    count: dict[str, int] = {}
    shown: Labelled = []
    others: Labelled = []
    for at in order:
        label = labelled[at][0]
        count[label] = count.get(label, 0) + 1
        (shown if count[label] <= EXAMPLES else others).append(labelled[at])
    return shown, others


def _cards(shown: Labelled) -> list[Card]:
    examples: dict[str, list[str]] = {}
    for label, text in shown:
        examples.setdefault(label, []).append(text[:4000])
    return [
        Card(
            id=_id(label), kind="adapter", base="base", provider="hosted_vllm", model=_id(label), examples=tuple(texts)
        )
        for label, texts in examples.items()
    ]


def _id(label: str) -> str:
    # Before and after "base" in the order of ids, which breaks ties.
    return label.replace(" ", "_")


def _rows(folder: Path) -> list[dict[str, str]]:
    with gzip.open(folder / "prompts.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


if __name__ == "__main__":
    main()
