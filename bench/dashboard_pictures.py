"""The pictures of the dashboard in its documentation: `python -m bench.dashboard_pictures [--out docs/pictures]`.

Needs Playwright, Pillow and Debian's chromium. 600 prompts of `data/everyday` are routed by the shipped cards, with
keys for OpenAI and Anthropic only, and not sent to a model: lengths, times, failures and feedback are simulated.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import io
import json
import math
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bench.dashboard import kept_in, serving
from router import Router
from router.analysis.drift.judged import CardDrift, Judged
from router.analysis.drift.stored import to_bytes
from router.cards import Catalog
from router.gateway.learning.drift import DRIFT
from router.gateway.learning.memories import basis_of
from router.pipeline import Routed
from router.store.records.feedback import Feedback
from router.store.records.record import Record, Snapshot
from router.store.records.snapshots import Snapshots, catalogue_snapshot
from router.store.records.sqlite import SqliteRecords
from router.store.records.sqlite_feedback import SqliteFeedback
from router.store.state.protocol import Blob
from router.store.state.sqlite import SqliteState
from router.types import Attempt, CallOutcome, ComposedPlan, Outcome, Usage
from router.wire import ChatRequest

COUNT = 600
_DAYS_S = 2 * 86_400.0
_HOSTED = ("openai", "anthropic")
_POLICIES = ("default",) * 6 + ("cheap", "best", "fast")
_KEYS = ("support", "support", "support", "search", "batch")
_PLANNED = 0.06
_FAILING, _FAIL_SHARE = 0.25, 0.3
_FEEDBACK = 0.2
_JUDGED, _LATE_HOURS = 600, 6
# Page, name of the picture, width and height.
_PICTURES = (
    ("now?hours=168", "now", 1200, 1150),
    ("routing?hours=168&cost=4", "routing", 1200, 1500),
    ("changes?hours=168", "changes", 1200, 760),
    ("requests/{id}", "request", 1200, 1250),
    ("cards?callable=1", "cards", 1200, 900),
    ("playground?policy=default&cheapest=0.05", "playground", 1200, 1150),
)


def fill(folder: Path, count: int = COUNT) -> str:
    """Write `count` records of the last two days; returns the id of one that failed over to another card."""
    router, rng, now_s = Router.default(), random.Random(5), time.time()
    kept: list[Snapshot] = []
    snapshots = Snapshots(catalogue_snapshot(router.catalog, router.evidence), kept_in(kept))
    elsewhere = {card.id: "no key" for card in router.catalog if card.provider not in _HOSTED}
    today = datetime.datetime.fromtimestamp(now_s, datetime.UTC).date()
    failing = "claude-haiku-5-5"
    records, failed_over = [], ""
    for number, prompt in enumerate(rng.sample(list(_prompts()), count)):
        at = now_s - _DAYS_S * (1 - number / count) ** 1.3
        plan = "cheap-first" if rng.random() < _PLANNED else None
        policy = rng.choice(_POLICIES)
        routed = router.route(
            ChatRequest.from_prompt(prompt), policy=policy, unavailable=elsewhere, today=today, plan=plan
        )
        is_late = number > (1 - _FAILING) * count
        outcome = _outcome(routed, router.catalog, rng, failing if is_late and rng.random() < _FAIL_SHARE else "")
        if len(outcome.attempts) > 1 and outcome.plan is None:
            failed_over = f"req_{number:06}"
        record = Record(
            f"req_{number:06}",
            at,
            "messages" if number % 5 == 0 else "chat",
            f"auto/{policy}" if plan is None else f"plan/{plan}",
            rng.random() < 0.5,
            outcome,
            rng.choice(_KEYS),
            decision=snapshots.decision_record(routed),
        )
        records.append(record)
    with SqliteRecords.open(folder) as store:
        store.add([*kept, *records], now_s)
    with SqliteFeedback.open(folder) as feedback:
        for record in records:
            if record.outcome.card is not None and record.decision is not None and rng.random() < _FEEDBACK:
                right = rng.random() < record.decision.quality - 0.08
                feedback.add(Feedback(record.id, float(right), record.at + 60), of_any_key=True)
    _judge(folder, router, rng, now_s)
    return failed_over


def _judge(folder: Path, router: Router, rng: random.Random, now_s: float) -> None:
    """Judged answers of two cards, of which one is right less often at maths since six hours."""
    state = SqliteState(folder / "state.sqlite")
    for name, late in (("claude-haiku-4-5", 0.35), ("gpt-4o-mini", 0.8)):
        card = router.catalog.named(name)
        drift = CardDrift.empty(basis_of(router.predictor.id, card, router.evidence.get(card.id)))
        for number in range(_JUDGED):
            hours_ago = 24.0 * (1 - number / _JUDGED)
            kind = rng.choice(("maths", "coding", "chat"))
            right = late if hours_ago < _LATE_HOURS and kind == "maths" else 0.8
            forecast = rng.uniform(0.7, 0.9)
            judged = Judged(now_s - 3_600 * hours_ago, rng.choice(_KEYS), forecast, float(rng.random() < right), kind)
            drift = drift.add(judged)
        asyncio.run(state.swap_blob(Blob(f"{DRIFT}{card.id}", 0, to_bytes(drift)), now_s))
    state.close()


def _prompts() -> Iterator[str]:
    with (Path(__file__).parents[1] / "data" / "everyday" / "prompts.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield row["prompt"] if "prompt" in row else row["messages"][-1]["content"]


def _outcome(routed: Routed, catalog: Catalog, rng: random.Random, failing: str) -> Outcome:
    decision = routed.decision
    tokens = Usage(routed.features.input_tokens, max(1, int(rng.lognormvariate(5.2, 0.9))))

    def cost_usd(card: str) -> float:
        price = catalog.named(card).price
        assert price is not None
        return (tokens.input_tokens * (price.input_usd or 0) + tokens.output_tokens * (price.output_usd or 0)) / 1e6

    total_ms = 350 + tokens.output_tokens * rng.uniform(6, 12)
    ttft_ms = rng.uniform(250, 700)
    if isinstance(decision.plan, ComposedPlan):
        first, last = decision.plan.members[0], decision.plan.members[-1]
        is_right = rng.random() < 0.7
        draft = CallOutcome(first, "draft", "shown" if is_right else "rejected", tokens, cost_usd(first), 0.9, "", 2.0)
        calls = [msgspec.structs.replace(draft, elapsed_ms=total_ms)]
        if not is_right:
            calls.append(
                CallOutcome(last, "draft", "shown", tokens, cost_usd(last), None, "", total_ms, total_ms * 1.4)
            )
        attempts = tuple(Attempt(call.card, call.card, 200, call.elapsed_ms) for call in calls)
        spent = math.fsum(call.cost_usd or 0.0 for call in calls)
        usage = Usage(tokens.input_tokens * len(calls), tokens.output_tokens * len(calls))
        whole_ms = calls[-1].began_ms + calls[-1].elapsed_ms
        return Outcome(
            200, whole_ms, calls[-1].card, attempts, usage, spent, None, 2.4, None, decision.plan.id, None, tuple(calls)
        )
    card = decision.card
    if card == failing and decision.plan.fallbacks:
        second = decision.plan.fallbacks[0]
        attempts = (Attempt(card, card, 529, 220.0, "overloaded"), Attempt(second, second, 200, ttft_ms))
        return Outcome(200, total_ms + 220, second, attempts, tokens, cost_usd(second), ttft_ms + 220, 2.4)
    if rng.random() < 0.006:
        attempts = (Attempt(card, card, 400, 90.0, "invalid_request"),)
        return Outcome(400, 95.0, attempts=attempts, overhead_ms=2.1, error="invalid_request_error")
    return Outcome(
        200, total_ms, card, (Attempt(card, card, 200, ttft_ms),), tokens, cost_usd(card), ttft_ms, rng.uniform(1.2, 3)
    )


def shoot(url: str, id_: str, out: Path) -> None:
    """Take every picture of the gateway at `url`."""
    from PIL import Image
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for page_name, name, width, height in _PICTURES:
            context = browser.new_context(viewport={"width": width, "height": height})
            page = context.new_page()
            page.goto(f"{url}/dashboard#/{page_name.format(id=id_)}")
            page.get_by_role("heading", level=1).wait_for()
            # Values that are computed after the page is shown.
            page.wait_for_timeout(4000)
            whole = Image.open(io.BytesIO(page.screenshot()))
            # Few colours are enough, and make the file a third as large.
            whole.convert("RGB").quantize(64).save(out / f"dashboard-{name}.png", optimize=True)
            context.close()
        browser.close()


def main() -> None:
    """Fill a store, serve it, and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
    parser.add_argument("--serve", action="store_true", help="serve it until interrupted, to look at it")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        id_ = fill(Path(name))
        with serving(Path(name)) as (url, _):
            if arguments.serve:
                print(f"{url}/dashboard (one that failed over: {id_})", flush=True)
                time.sleep(3600)
            else:
                shoot(url, id_, arguments.out)


if __name__ == "__main__":
    main()
