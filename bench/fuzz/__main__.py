"""The fuzzers: `python -m bench.fuzz [--requests N] [--heads N] [--answers N] [--only KIND NUMBER]`.

Mutated requests on all surfaces, raw heads on sockets, mutated answers of model servers. Exits with status 1 if there
were problems.
"""

from __future__ import annotations

import argparse
import collections
import sys
from collections.abc import Callable

from bench.fuzz import SEED, Result, fuzz_heads, fuzz_requests, fuzz_streams
from tests.fuzz.heads import fuzz_head
from tests.fuzz.mutations import fuzz_request
from tests.fuzz.streams import fuzz_answer

_FUZZERS: dict[str, tuple[int, Callable[[list[int], int], Result]]] = {
    "requests": (50_000, fuzz_requests),
    "heads": (200_000, fuzz_heads),
    "answers": (20_000, fuzz_streams),
}


def main() -> None:
    """Print the problems, statuses and slowest inputs of every fuzzer."""
    parser = argparse.ArgumentParser(description=__doc__)
    for kind, (count, _) in _FUZZERS.items():
        parser.add_argument(f"--{kind}", type=int, help=f"how many (default: {count}, or none if others are stated)")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--only", nargs=2, metavar=("KIND", "NUMBER"), help="send one alone, and print it")
    options = parser.parse_args()
    if options.only is not None:
        kind, number = options.only[0], int(options.only[1])
        print(_raw(kind, number, options.seed)[:4_000].decode("latin-1"))
        sys.exit(int(_report(kind, [number], options.seed)))
    stated = {kind: getattr(options, kind) for kind in _FUZZERS}
    if all(count is None for count in stated.values()):
        stated = {kind: count for kind, (count, _) in _FUZZERS.items()}
    failed = [_report(kind, list(range(count)), options.seed) for kind, count in stated.items() if count]
    sys.exit(int(any(failed)))


def _raw(kind: str, number: int, seed: int) -> bytes:
    if kind == "heads":
        return b"".join(fuzz_head(seed, number))
    if kind == "answers":
        return b"".join(fuzz_answer(seed, number, "chat/completions", stream=True).pieces)
    return fuzz_request(seed, number).raw


def _report(kind: str, numbers: list[int], seed: int) -> bool:
    """Run a fuzzer and print its result; returns whether there were problems."""
    result = _FUZZERS[kind][1](numbers, seed)
    kinds = collections.Counter(finding.problem for finding in result.findings)
    for problem, count in kinds.most_common(40):
        numbers_of = (finding.number for finding in result.findings if finding.problem == problem)
        example = next((number for number in numbers_of if number is not None), None)
        print(f"{count:6d} × {problem}" + (f"  (--only {kind} {example})" if example is not None else ""))
    statuses = ", ".join(f"{count} × {status}" for status, count in sorted(result.statuses.items()))
    print(
        f"{len(numbers)} {kind} in {result.elapsed_s:.1f} s, {result.upstream_calls} calls of upstreams; "
        f"statuses (0: none): {statuses}"
    )
    print("slowest: " + ", ".join(f"{seconds:.2f} s (--only {kind} {number})" for seconds, number in result.slowest))
    print(f"problems: {len(result.findings)}", flush=True)
    return bool(result.findings)


if __name__ == "__main__":
    main()
