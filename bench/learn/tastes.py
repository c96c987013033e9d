"""Keys of different tastes: the error memory's view for each key beside fast heads: `python -m bench.learn.tastes`.

Mean real score, by the taste of whoever asks, of the last two thirds of a stream; with the 95 % interval of the
difference from the error memory without heads over requests. `knows` is the best card by true means for each key and
domain.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable

import numpy as np

from bench.learn.methods import ErrorMemory, Method, NoLearning, run
from bench.learn.options import parser_of
from bench.learn.streams import TASTES, Stream, load, stream_of
from router import settings
from router.commands.render import console, table
from router.loading import load_encoder
from router.types import Doubles

_METHODS: dict[str, Callable[[int], Method]] = {
    "no learning": NoLearning,
    "error memory": ErrorMemory,
    "with fast heads": functools.partial(ErrorMemory, heads=True),
}


def main() -> None:
    """Print one table for each set."""
    arguments = parser_of(__doc__, ("mmlu_pro", "llmrouter_default"), streams=3, requests=4_000).parse_args()
    encoder = load_encoder(settings.STATIC_ENCODER)
    for name in arguments.sets:
        outcomes = load(arguments.data / name, encoder, "judge")
        shown = table("tastes", "method", "score", "over the memory", right=("score", "over the memory"))
        for scenario in TASTES:
            streams = [stream_of(outcomes, scenario, n, arguments.requests) for n in range(arguments.streams)]
            results = {method: [run(stream, make).scores for stream in streams] for method, make in _METHODS.items()}
            first = arguments.requests // 3
            memory = np.concatenate([scores[first:] for scores in results["error memory"]])
            for method, runs in results.items():
                scores = np.concatenate([each[first:] for each in runs])
                change = scores - memory
                half = 1.96 * change.std() / np.sqrt(len(change))
                print(name, scenario.name, method, f"{scores.mean():.4f} {change.mean():+.4f}", file=sys.stderr)
                difference = "" if method == "error memory" else f"{change.mean():+.4f} ± {half:.4f}"
                shown.add_row(
                    scenario.name if method == "no learning" else "", method, f"{scores.mean():.4f}", difference
                )
            known = np.mean([_known(stream)[first:].mean() for stream in streams])
            shown.add_row("", "knows", f"{known:.4f}", "")
        console().print(f"[bold]{name}[/]: {len(outcomes.cards)} cards, {arguments.streams} streams")
        console().print(shown)


def _known(stream: Stream) -> Doubles:
    """The scores of the card that is best on average for the key and the domain, by true means."""
    domains = np.array(stream.outcomes.domains)[stream.rows]
    groups = [f"{tenant}/{domain}" for tenant, domain in zip(stream.tenants, domains, strict=True)]
    names, places = np.unique(groups, return_inverse=True)
    best = np.array([stream.scores[places == group].mean(axis=0).argmax() for group in range(len(names))])
    scores: Doubles = stream.scores[np.arange(len(places)), best[places]]
    return scores


if __name__ == "__main__":
    main()
