"""Whether conversations stay on their card, and leave it when they should: `python -m bench.conversations SET`.

SET is a folder with `prompts.jsonl[.gz]` whose prompts have a `domain` (a task). Outcomes are planted: every task has
an adapter card that answers its own prompts right with probability .85 and others with .35; the base of all adapters
answers any prompt right with .45. A predictor is trained on these outcomes for most of the prompts. Conversations of 2
to 8 turns begin with an unseen prompt of a task and go on with follow-ups; the last turn is

- another follow-up, which should stay with the card of the first turn,
- a prompt of another task, which should leave it,
- a short ask about something else, which should leave it too.

With `--examples 5`, nothing is trained: the cards state so many prompts of their task, and nothing else is known.

Follow-ups and short asks are those of `bench/turns.tsv`: `--half tune` are the ones on which the cue of dependence was
tuned, `--half report` others. Then how long the features of a conversation take, by its number of turns.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import msgspec
import numpy as np

from router import settings
from router.cards import Card, Catalog
from router.commands.render import console, table
from router.decide.policy import Policies, Policy, load_policies
from router.errors import PulvinarError
from router.formats.quantities import read_quantity
from router.learn.data import Prompt, RoutingSet
from router.learn.data.prompts import read_prompts
from router.learn.training.train import train
from router.loading import load_encoder, load_predictor
from router.perceive.features import Perceiver
from router.perceive.text.encoder import Encoder
from router.pipeline import Router
from router.wire.chat.request import ChatRequest

Kind = Literal["follow_up", "switch", "off_topic"]
KINDS: tuple[Kind, ...] = ("follow_up", "switch", "off_topic")
BASE = "base"
OWN_TASK, OTHER_TASK, OF_BASE = 0.85, 0.35, 0.45
LENGTHS = range(2, 9)
GUARDED = Policy(id="guarded", description="the guard and no goals", guard="on")

_TURNS = Path(__file__).with_name("turns.tsv")
_ASSISTANT = {"role": "assistant", "content": "Here you are. Let me know if you need anything else."}
_TIMED_TURNS = (2, 20, 200, 1_000)
_WORDS = ("cache", "router", "answer", "client", "river", "stone", "window", "letter", "garden", "winter", "engine")
Key = TypeVar("Key")


class Phrases(NamedTuple):
    """Turns that are not a prompt of any task."""

    follow_up: Sequence[str]
    off_topic: Sequence[str]


class Conversation(NamedTuple):
    """The human's turns, and what the last one should do."""

    turns: tuple[str, ...]
    kind: Kind
    task: str


class Share(NamedTuple):
    """How many of some conversations or turns did as they should."""

    right: int
    conversations: int

    @property
    def value(self) -> float:
        """The share, NaN without conversations."""
        return self.right / self.conversations if self.conversations else float("nan")


def main() -> None:
    """Print one table for each policy, then the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path, help="the folder of a data set whose prompts have domains")
    parser.add_argument("--half", choices=("tune", "report"), default="report")
    parser.add_argument(
        "--prompts", type=int, default=5_000, help="prompts to train on; the others begin conversations"
    )
    parser.add_argument("--conversations", type=int, default=100, help="conversations of each length and kind")
    parser.add_argument(
        "--examples", type=int, default=0, help="examples a card, and the package's predictor; 0: planted outcomes"
    )
    arguments = parser.parse_args()
    file = next((file for file in arguments.set.glob("prompts.jsonl*")), arguments.set / "prompts.jsonl")
    encoder = load_encoder(settings.STATIC_ENCODER)
    trained, unseen = split(read_prompts(file), arguments.prompts)
    policies = {**load_policies(settings.default_policies_folder()), GUARDED.id: GUARDED}
    if arguments.examples:
        router = shown_specialists(trained, arguments.examples, policies)
    else:
        router = specialists(trained, encoder, policies)
    phrases = read_phrases(arguments.half)
    tried = list(conversations(unseen, phrases, arguments.conversations))
    print(f"{len(trained)} prompts, {len(router.catalog)} cards, {len(tried)} conversations, half {arguments.half}")
    for policy in ("best", "default") if arguments.examples else ("default", GUARDED.id):
        show(policy, results(router, policy, tried))
    timings(encoder)


def split(prompts: Sequence[Prompt], trained: int) -> tuple[list[Prompt], list[Prompt]]:
    """The prompts to train on, and the others."""
    order = np.random.default_rng(0).permutation(len(prompts))
    return [prompts[row] for row in order[:trained]], [prompts[row] for row in order[trained:]]


def specialists(prompts: Sequence[Prompt], encoder: Encoder, policies: Mapping[str, Policy]) -> Router:
    """A router over a base card and one adapter card for each domain, trained on planted outcomes."""
    tasks = tuple(sorted({prompt.domain for prompt in prompts}))
    own = np.array([[prompt.domain == task for task in tasks] for prompt in prompts])
    chances = np.column_stack([np.full(len(prompts), OF_BASE), np.where(own, OWN_TASK, OTHER_TASK)])
    scores = (np.random.default_rng(1).random(chances.shape) < chances).astype(np.float32)
    data = RoutingSet("specialists", "CC0-1.0", "0" * 64, tuple(prompts), (BASE, *tasks), scores)
    cards = [_card(BASE), *map(adapter_card, tasks)]
    return Router(Catalog(cards), Policies(tuple(policies.values())), train([data], encoder))


def shown_specialists(prompts: Sequence[Prompt], examples: int, policies: Mapping[str, Policy]) -> Router:
    """A router over a base card and one adapter card for each domain, of which only some examples are known."""
    shown: dict[str, list[str]] = defaultdict(list)
    for prompt in prompts:
        if len(shown[prompt.domain]) < examples:
            shown[prompt.domain].append(prompt.turns[-1][:4000])
    cards = [_card(task, kind="adapter", base=BASE, examples=texts) for task, texts in shown.items()]
    predictor = load_predictor(settings.shipped_artifact_folder())
    return Router(Catalog([_card(BASE), *cards]), Policies(tuple(policies.values())), predictor)


def adapter_card(task: str) -> Card:
    """The card of a task, without anything that says what it is for."""
    return _card(task, kind="adapter", base=BASE)


def _card(name: str, **facts: str | Sequence[str]) -> Card:
    plain = {"id": name, "provider": "openai", "model": name, "context": "128k", **facts}
    return msgspec.convert(plain, Card, dec_hook=read_quantity)


def read_phrases(half: str) -> Phrases:
    """The phrases of one half of `bench/turns.tsv`."""
    found: dict[str, list[str]] = defaultdict(list)
    with _TURNS.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE):
            if row["half"] == half:
                found[row["kind"]].append(row["text"])
    return Phrases(found["follow_up"], found["off_topic"])


def conversations(prompts: Sequence[Prompt], phrases: Phrases, number: int) -> Iterator[Conversation]:
    """`number` conversations of each length and kind. All phrases occur about equally often."""
    rng = np.random.default_rng(2)
    last = {"follow_up": itertools.cycle(phrases.follow_up), "off_topic": itertools.cycle(phrases.off_topic)}
    for length, kind in itertools.product(LENGTHS, KINDS):
        for _ in range(number):
            first = prompts[int(rng.integers(len(prompts)))]
            middle = [phrases.follow_up[index] for index in rng.integers(len(phrases.follow_up), size=length - 2)]
            if kind == "switch":
                others = [prompt for prompt in prompts if prompt.domain != first.domain]
                end = others[int(rng.integers(len(others)))].turns[-1]
            else:
                end = next(last[kind])
            yield Conversation((first.turns[-1], *middle, end), kind, first.domain)


class Results(NamedTuple):
    """Shares by length and kind: of conversations that began with their task's card, those whose last turn did as it
    should; by length, of the follow-ups after another card than the base, those that stay with it; and by last turn.
    """

    conversations: Mapping[tuple[int, Kind], Share]
    turns: Mapping[int, Share]
    phrases: Mapping[str, Share]


def results(router: Router, policy: str, tried: Sequence[Conversation]) -> Results:
    """The results of one policy."""
    ends: dict[tuple[int, Kind], list[bool]] = defaultdict(list)
    turns: dict[int, list[bool]] = defaultdict(list)
    phrases: dict[str, list[bool]] = defaultdict(list)
    for conversation in tried:
        length, kind = len(conversation.turns), conversation.kind
        cards = list(chosen_cards(router, policy, conversation))
        follow_ups = cards if kind == "follow_up" else cards[:-1]
        stays = [after == before for before, after in itertools.pairwise(follow_ups) if before != BASE]
        turns[length] += stays
        if cards[0] != conversation.task:
            continue
        right = (cards[-1] == cards[0]) == (kind == "follow_up")
        ends[length, kind].append(right)
        if kind != "switch" and cards[-2] == cards[0]:
            phrases[conversation.turns[-1]].append(right)
    return Results(_shares(ends), _shares(turns), _shares(phrases))


def _shares(found: Mapping[Key, Sequence[bool]]) -> dict[Key, Share]:
    return {key: Share(sum(of_key), len(of_key)) for key, of_key in found.items()}


def chosen_cards(router: Router, policy: str, conversation: Conversation) -> Iterator[str]:
    """The card of each turn, as the gateway chooses it: the one before is the conversation's card."""
    kept: str | None = None
    messages: list[dict[str, str]] = []
    for turn in conversation.turns:
        messages.append(_user(turn))
        request = ChatRequest.from_body({"messages": list(messages)})
        kept = router.route(request, policy=policy, kept=kept).decision.card
        messages.append(_ASSISTANT)
        yield kept


def _user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def show(policy: str, found: Results) -> None:
    """Print the shares of one policy, and the phrases that fail most."""
    headers = ("turns", "a follow-up stays", "all follow-ups stay", "a switch leaves", "a short ask leaves")
    shown = table(*headers, right=headers)
    for length in LENGTHS:
        ends = (found.conversations.get((length, kind), Share(0, 0)) for kind in KINDS)
        shown.add_row(str(length), *(f"{share.value:.1%}" for share in (found.turns.get(length, Share(0, 0)), *ends)))
    totals = [_total(found.turns.values())]
    totals += [_total(share for (_, of), share in found.conversations.items() if of == kind) for kind in KINDS]
    shown.add_row("all", *(f"{total.value:.1%} of {total.conversations}" for total in totals))
    console().print(f"[bold]policy {policy}[/]")
    console().print(shown)
    failing = [(phrase, share) for phrase, share in found.phrases.items() if share.value < 1.0]
    failing.sort(key=lambda item: (item[1].value, item[0]))
    print("fail most:", "; ".join(f"{phrase} ({share.value:.0%})" for phrase, share in failing[:12]) or "none", "\n")


def _total(shares: Iterable[Share]) -> Share:
    found = tuple(shares)
    return Share(sum(share.right for share in found), sum(share.conversations for share in found))


def timings(encoder: Encoder) -> None:
    """Print how long the features of a newest turn take once those of the turns before it were computed."""
    rng = np.random.default_rng(3)
    perceive = Perceiver(encoder)
    best: dict[int, float] = {}
    for _ in range(100):
        for turns in _TIMED_TURNS:
            texts = [" ".join(rng.permutation(_WORDS)) for _ in range(turns)]
            texts[-1] = f"and then, {texts[-1]}"
            messages = [message for text in texts for message in (_user(text), _ASSISTANT)]
            before, request = (ChatRequest.from_body({"messages": messages[:end]}) for end in (-3, -1))
            perceive(before, continues=True)
            start = time.perf_counter()
            perceive(request, continues=True)
            best[turns] = min(best.get(turns, 1.0), time.perf_counter() - start)
    headers = ("turns", "features, ms", "ratio to 20 turns")
    shown = table(*headers, right=headers)
    for turns, seconds in best.items():
        shown.add_row(str(turns), f"{1_000 * seconds:.3f}", f"{seconds / best[20]:.2f}")
    console().print(shown)


if __name__ == "__main__":
    try:
        main()
    except PulvinarError as error:
        raise SystemExit(f"bench.conversations: {error}") from None
