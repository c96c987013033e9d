"""Quality on texts in other scripts, speed and memory of the encoder: `python -m bench.encoder`.

`sentences.tsv` has the same 24 questions in ten languages, in two wordings. The columns for a language are:

- `cosine`: mean cosine between different questions. Near 1 the texts have collapsed to one point.
- `unknown`: share of word pieces that are unknown to the English tokenizer.
- `wording`: share of questions whose nearest second wording in the same language is that of the same question.
- `English`: share of questions whose nearest English question is the same question (by chance: 0.04).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from bench.decision import texts
from router import settings
from router.loading import load_encoder
from router.perceive.features import feature_vector
from router.perceive.text.encoder import Encoder, StaticEncoder
from router.perceive.text.text_features import surface_features
from router.types import Floats

SENTENCES = Path(__file__).with_name("sentences.tsv")
_UNKNOWN_TOKEN = 100
_MEMORY = """
import resource, sys
import numpy, msgspec, tokenizers
from router import Router
from router.loading import load_encoder
import router.perceive.predictor
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6
before = resident()
if {what!r} == "encoder":
    encoder = load_encoder("static")
    encoder.encode(["What is the capital of France?", "Какая столица Франции?"])
else:
    predictor = Router.default().predictor
    predictor.encoder.encode(["What is the capital of France?", "Какая столица Франции?"])
print(resident() - before)
"""


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=300)
    rounds = parser.parse_args().rounds
    encoder = load_encoder(settings.STATIC_ENCODER)
    languages(encoder)
    speed(encoder, rounds)
    memory()


def sentences() -> dict[str, tuple[list[str], list[str]]]:
    """The questions of each language, and their second wordings in the same order."""
    questions: dict[str, tuple[list[str], list[str]]] = {}
    for line in SENTENCES.read_text(encoding="utf-8").splitlines():
        language, first, second = line.split("\t")
        wordings = questions.setdefault(language, ([], []))
        wordings[0].append(first)
        wordings[1].append(second)
    return questions


def languages(encoder: Encoder) -> None:
    """Print one row per language."""
    questions = sentences()
    english = encoder.encode(questions["en"][0])
    print(f"{'language':10s}{'cosine':>9s}{'unknown':>9s}{'wording':>9s}{'English':>9s}")
    rows = []
    for language, (first, second) in questions.items():
        vectors, second_vectors = encoder.encode(first), encoder.encode(second)
        unknown = _unknown_share(encoder, first)
        row = (_mean_cosine(vectors), unknown, _matches(vectors, second_vectors), _matches(vectors, english))
        rows.append(row)
        print(f"{language:10s}" + "".join(f"{value:9.2f}" for value in row))
    mean = np.nanmean(rows[1:], axis=0)
    print(f"{'all but en':10s}" + "".join(f"{value:9.2f}" for value in mean) + "\n")


def speed(encoder: Encoder, rounds: int) -> None:
    """Print the time per text: short and long texts, several scripts, cached and new words."""
    short = texts(rounds)
    long = [" ".join(short[first : first + 20]) for first in range(0, rounds - 20, 5)]
    questions = sentences()
    print(f"{'µs a text, p50':44s}{'encode':>9s}{'surface':>9s}{'count':>9s}{'features':>9s}")
    for name, sample in (
        ("English, 100 tokens", short),
        ("English, 2,000 tokens", long),
        *(
            (f"{language}, 24 questions", ["\n".join(questions[language][0])] * 50)
            for language in ("ru", "ar", "zh", "th")
        ),
    ):
        row = [
            _microseconds(lambda text: encoder.encode([text]), sample),
            _microseconds(surface_features, sample),
            _microseconds(encoder.count_tokens, sample),
            _microseconds(lambda text: (feature_vector(encoder, (text,)), encoder.count_tokens(text)), sample),
        ]
        print(f"{name:44s}" + "".join(f"{value:9.0f}" for value in row))
    fresh = load_encoder(settings.STATIC_ENCODER)
    first = _microseconds(lambda text: fresh.encode([text]), short, warm=0)
    print(f"{'English, 100 tokens, new words':44s}{first:9.0f}\n")


def memory() -> None:
    """Print the growth of resident memory, measured in a new process."""
    for what in ("encoder", "encoder and predictor"):
        code = _MEMORY.format(what=what)
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        if run.returncode:
            print(f"{what:44s}  failed: {run.stderr.splitlines()[-1]}")
            continue
        print(f"{what:44s}{float(run.stdout):9.1f} MB of resident memory")


def _mean_cosine(vectors: Floats) -> float:
    cosine = vectors.astype(np.float64) @ vectors.T
    return float(cosine[~np.eye(len(cosine), dtype=np.bool_)].mean())


def _matches(vectors: Floats, others: Floats) -> float:
    """The share of vectors whose nearest neighbour among the others has the same index."""
    return float((np.argmax(vectors @ others.T, axis=1) == np.arange(len(vectors))).mean())


def _unknown_share(encoder: Encoder, sample: Sequence[str]) -> float:
    if not isinstance(encoder, StaticEncoder):
        return float("nan")
    pieces = [piece for text in sample for piece in encoder.pieces(text)]
    return pieces.count(_UNKNOWN_TOKEN) / len(pieces)


def _microseconds(call: Callable[[str], object], sample: Sequence[str], warm: int = 50) -> float:
    for text in sample[:warm]:
        call(text)
    times = []
    for text in sample:
        start = time.perf_counter()
        call(text)
        times.append((time.perf_counter() - start) * 1e6)
    return float(np.percentile(times, 50))


if __name__ == "__main__":
    main()
