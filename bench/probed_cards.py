"""How many prompts of other cards a card takes of which only a few probes are known (a part of `bench.adapters`).

Outcomes are planted as in `bench.conversations`, and a predictor is trained on them without four of the tasks. Then one
of these tasks after the other gets a card with 8 or 32 probes, all of its own task, and competes with the base and with
the cards of the trained tasks under the policy `best`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.conversations import OWN_TASK, adapter_card, specialists
from router import settings
from router.cards.catalog import Catalog
from router.decide.policy import load_policies
from router.learn.data.prompts import Prompt, read_prompts
from router.perceive.predictor import Evidence
from router.perceive.text.encoder import Encoder
from router.pipeline import Router
from router.wire.chat.request import ChatRequest

PROBES = (8, 32)
_ABSENT, _TRAINED, _OTHERS, _OWN = 4, 5_000, 500, 60


def probed_cards(folder: Path, encoder: Encoder, draws: int = 2) -> None:
    """Print, for each draw of the absent tasks, what goes to the new cards of their own prompts and of others."""
    prompts = read_prompts(next(folder.glob("prompts.jsonl*")))
    print("probes    own prompts    of others (mean, most)")
    for draw in range(draws):
        random = np.random.default_rng(draw)
        tasks = sorted({prompt.domain for prompt in prompts})
        absent = [tasks[at] for at in random.permutation(len(tasks))[:_ABSENT]]
        mixed = [prompts[at] for at in random.permutation(len(prompts))]
        trained = [prompt for prompt in mixed[:_TRAINED] if prompt.domain not in absent]
        others = [prompt for prompt in mixed[_TRAINED:] if prompt.domain not in absent][:_OTHERS]
        router = specialists(trained, encoder, dict(load_policies(settings.default_policies_folder())))
        for count in PROBES:
            own, taken = [], []
            for task in absent:
                of_task = [prompt for prompt in mixed if prompt.domain == task]
                tried = _with_card(router, task, of_task[:count], draw)
                asked = of_task[max(PROBES) :][:_OWN]
                own.append(sum(_choice(tried, prompt) == task for prompt in asked) / len(asked))
                taken.append(sum(_choice(tried, prompt) == task for prompt in others) / len(others))
            shares = f"{np.mean(own):.3f}{'':10}{np.mean(taken):.3f}, {max(taken):.3f}"
            print(f"{count:6}    {shares}    {', '.join(absent)}", flush=True)


def _with_card(router: Router, task: str, probes: list[Prompt], draw: int) -> Router:
    """`router` with a card for `task`, which has answered these probes, most of them right."""
    scores = (np.random.default_rng(draw).random(len(probes)) < OWN_TASK).astype(np.float64)
    vectors = router.predictor.vectors([prompt.turns for prompt in probes])
    catalog = Catalog([*router.catalog, adapter_card(task)])
    return Router(catalog, router.policies, router.predictor, {task: Evidence(vectors, scores)})


def _choice(router: Router, prompt: Prompt) -> str:
    request = ChatRequest.from_body({"messages": [{"role": "user", "content": prompt.turns[-1]}]})
    return router.route(request, policy="best").decision.card
