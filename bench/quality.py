"""How well the predictor routes: `python -m bench.quality [--data DIR] [--by domain] [SET …]`.

For each routing data set the report of `route eval`, with the baselines on the same folds beside it.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from router import settings
from router.commands import options
from router.commands.render import print_report
from router.errors import PulvinarError
from router.learn.dataset import load_set
from router.learn.evaluate import evaluate

SETS = ("mmlu_pro", "llmrouter_default", "routerbench_part")


def main() -> None:
    """Print one table a set, and the mean AUC over the sets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", default=SETS)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--by", choices=["domain"])
    arguments = parser.parse_args()
    encoder = options.load_encoder(options.STATIC)
    areas: dict[str, list[float]] = {}
    for name in arguments.sets:
        start = time.monotonic()
        report = evaluate(
            load_set(arguments.data / name),
            encoder,
            folds=arguments.folds,
            by=arguments.by,
            baseline_encoder=lambda: options.load_encoder("all-MiniLM-L6-v2"),
            cache=settings.cache_folder() / "embeddings",
        )
        print_report(report)
        print(f"({time.monotonic() - start:.0f} s)\n", flush=True)
        for line in report.methods:
            if line.auc is not None:
                areas.setdefault(line.method, []).append(line.auc)
    for method, values in areas.items():
        print(f"mean AUC over {len(values)} sets  {sum(values) / len(values):.4f}  {method}")


if __name__ == "__main__":
    try:
        main()
    except PulvinarError as error:
        raise SystemExit(f"bench.quality: {error} (--data says where the sets lie)") from None
