"""Random arrays, texts and arguments for the compiled kernel under AddressSanitizer and UBSan:
`python -m bench.kernel_fuzz [--seconds S] [--seed N]`.

The extension is compiled with gcc or clang and both sanitizers and loaded into a process of its own. Whatever it is
given, it has to compute or to raise. Exits with status 1 if a sanitizer found something, 2 without a compiler.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.util
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
# Without optimisation, which takes three times as long to compile; what is checked of the size of objects needs it.
SANITIZED = ("-O0", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
_ALPHABET = [
    *" \n\t?()[]{}AB.:;=><`#Kabcz019_",
    "\u212a",
    "İ",
    "é",
    "π",
    "\ufe0f",
    "本",
    "\ud800",
    "\udfff",
    "\U0001f642",
    "\u00a0",
    "\x00",
]
_KINDS = ("f4", "f8", "i1", "u1", "i8", "?")


def main() -> int:
    """Compile, run the child, and pass on what it found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        print(f"{fuzz(load(options.child), options.seconds, options.seed)} calls, no findings")
        return 0
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None or sys.platform != "linux":
        print("needs gcc or clang on Linux", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        extension = Path(folder) / "_kernel.abi3.so"
        compile_sanitized(compiler, extension)
        arguments = ["--child", str(extension), "--seconds", str(options.seconds), "--seed", str(options.seed)]
        name = "libasan.so" if Path(compiler).name == "gcc" else f"libclang_rt.asan-{os.uname().machine}.so"
        library = subprocess.run([compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True)
        environment = {
            **os.environ,
            "LD_PRELOAD": library.stdout.strip(),
            # Python itself keeps memory until it ends.
            "ASAN_OPTIONS": "detect_leaks=0:halt_on_error=1",
            # So that each allocation has an end that is watched.
            "PYTHONMALLOC": "malloc",
        }
        return subprocess.run(
            [sys.executable, "-m", "bench.kernel_fuzz", *arguments], cwd=ROOT, env=environment, check=False
        ).returncode


def compile_sanitized(compiler: str, out: Path) -> None:
    """Compile the kernel with both sanitizers."""
    flags = ("-std=gnu11", "-ffp-contract=off", "-fno-math-errno", "-fPIC", "-shared", "-Wno-psabi")
    source = str(ROOT / "kernel" / "module.c")
    shared = ("-shared-libasan",) if Path(compiler).name == "clang" else ()
    subprocess.run([compiler, *SANITIZED, *flags, *shared, source, "-o", str(out), "-lm"], check=True)


def load(extension: Path) -> Any:
    """The extension in this file."""
    spec = importlib.util.spec_from_file_location("_kernel", extension)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fuzz(extension: Any, seconds: float, seed: int) -> int:
    """Call everything for so long; returns the number of calls."""
    given, end, calls = _Given(random.Random(seed)), time.monotonic() + seconds, 0
    stages = (_pieces, _words, _table, _prompts, _reading, _projection, _choice, _plans)
    while time.monotonic() < end:
        for name in ("baseline", "avx2"):
            with contextlib.suppress(ValueError):
                extension.use(name)
            for stage in stages:
                # Raising is an answer; a sanitizer ends the process.
                with contextlib.suppress(ValueError, TypeError, BufferError, MemoryError, OverflowError):
                    stage(extension, given)
                calls += 1
    return calls


class _Given:
    """Random arguments, of which some do not fit."""

    def __init__(self, chance: random.Random) -> None:
        self.chance, self.numbers = chance, np.random.default_rng(chance.randrange(2**32))

    def size(self, most: int = 40) -> int:
        return self.chance.choice((0, 1, 3, 4, 8, self.chance.randrange(most), most))

    def text(self) -> str:
        length = self.chance.choice((0, 1, 5, 60, 5_000))
        return "".join(self.chance.choices(_ALPHABET, k=self.chance.randrange(length + 1)))

    def array(self, kind: str, *shape: int) -> Any:
        if self.chance.random() < 0.02:
            kind = self.chance.choice(_KINDS)
        if self.chance.random() < 0.02 and shape:
            shape = (max(shape[0] + self.chance.choice((-1, 1)), 0), *shape[1:])
        if np.dtype(kind).kind == "f":
            scale = self.chance.choice((1.0, 1.0, 1e-30, 1e30))
            values: Any = (self.numbers.normal(size=shape) * scale).astype(kind)
            if self.chance.random() < 0.1 and values.size:
                values.flat[0] = self.chance.choice((np.nan, np.inf, -np.inf, 0.0))
            return values
        low, high = (-128, 128) if kind == "i1" else (0, 100)
        values = self.numbers.integers(low, high, size=shape).astype(kind)
        return values[::-1] if self.chance.random() < 0.01 else values

    def out(self, kind: str, *shape: int) -> Any:
        array = np.zeros(shape, dtype=kind)
        array.flags.writeable = self.chance.random() > 0.01
        return array if self.chance.random() > 0.02 else self.array(kind, *shape)


def _bound_pieces(extension: Any, given: _Given) -> Any:
    vocabulary = [
        "[UNK]",
        *("".join(given.chance.choices("#abcK01é", k=given.size(12))) for _ in range(given.size(60))),
    ]
    characters = given.numbers.integers(0, 5, size=(0x3040 - 0x80, 3)).astype(np.int32)
    characters[:, 1:] = given.numbers.integers(0, given.chance.choice((1, 0x10000)), size=(0x3040 - 0x80, 2))
    if given.chance.random() < 0.02:
        characters.flat[0] = given.chance.choice((-1, 5, 2**31 - 1))
    specials = given.chance.choice(((), ("[x]", "[B"), ("[" * 17,), ("x",), ("[",) * 9))
    prefix, most = given.chance.choice(("##", "", "#")), given.chance.choice((1, 5, 100, 255, 256, 257))
    return extension.Pieces(vocabulary, prefix, 0, most, characters, specials)


def _remembering(given: _Given, read: Callable[[dict[str, object]], Any]) -> Any:
    memo: dict[str, object] = {}
    while isinstance(found := read(memo), list):
        ids = (given.numbers.integers(0, given.chance.choice((3, 60)), size=given.size(400)) for _ in found)
        memo.update(zip(found, (of_word.astype(np.int64).tobytes() for of_word in ids), strict=True))
    return found


def _pieces(extension: Any, given: _Given) -> None:
    pieces = _bound_pieces(extension, given)
    for _ in range(3):
        text = given.text()
        found = pieces.ids(text, None)
        if isinstance(found, list):
            found = _remembering(given, functools.partial(pieces.ids, text))
        assert isinstance(found, bytes)
        assert len(found) % 8 == 0


def _words(extension: Any, given: _Given) -> None:
    words = given.text() if given.chance.random() < 0.5 else "\n".join(given.text() for _ in range(given.size()))
    stored = words.encode("utf-8", "replace")
    listed = extension.Words(stored if given.chance.random() < 0.8 else stored[: given.size(len(stored) + 1)])
    for text in (given.text(), words[:300], "", *words.split("\n")[:3]):
        found = listed.entries(text)
        assert len(found) <= len(text)
        assert all(number >= -len(text) for number in found)


def _bound_table(extension: Any, given: _Given, tokens: int, embedded: int) -> Any:
    entries, of_entry = given.size(), given.chance.choice((0, 1, 4))
    return extension.Table(
        given.array("i1", tokens, embedded),
        given.array("f4", tokens),
        (given.numbers.integers(0, tokens + 1, size=(entries, of_entry)) % max(tokens, 1)).astype(np.uint16),
        given.numbers.integers(0, 256, size=(entries, of_entry)).astype(np.uint8),
        entries,
        given.size(),
        given.chance.choice((1, 1, max(tokens // 2, 1), tokens)),
        given.chance.choice((1, 10, 1 << 24)),
    )


def _table(extension: Any, given: _Given) -> None:
    tokens, embedded = given.size(), given.chance.choice((0, 1, 7, 8, 32, 40, 384, 1024, 1025))
    table = _bound_table(extension, given, tokens, embedded)
    for beyond in (0, 0, 40, 2**30):
        ids = given.numbers.integers(-1 if beyond else 0, max(tokens + beyond, 1), size=given.size()).astype(np.int64)
        with contextlib.suppress(ValueError, BufferError):
            table.embed(
                ids.tobytes() if given.chance.random() < 0.9 else b"x" * given.size(), given.out("f4", embedded)
            )


def _bound_surface(extension: Any, given: _Given) -> tuple[Any, int]:
    def strings(most: int) -> tuple[str, ...]:
        return tuple(
            "".join(given.chance.choices("ab(\n`dK ", k=given.size(17))) or "ab" for _ in range(given.size(most))
        )

    codes, phrases = strings(20), strings(12)
    openings = tuple((word, given.chance.randrange(9)) for word in strings(8))
    surface = extension.Surface(given.array("u1", 0x10000) % 20, codes, phrases, openings, 9)
    return surface, 3 + 15 + 9 + 9 + len(phrases) + 5


def _prompts(extension: Any, given: _Given) -> None:
    surface, width = _bound_surface(extension, given)
    pieces, tokens, embedded = _bound_pieces(extension, given), 70, given.chance.choice((1, 8, 33, 384))
    table, readings = _bound_table(extension, given, tokens, embedded), given.chance.choice((2, 9))
    reading = _bound_reading(extension, given, embedded, width, readings)
    has_reading = given.chance.random() < 0.8
    prompts = extension.Prompts(pieces, table, surface, reading if has_reading else None)
    for _ in range(4):
        texts = tuple(given.text() * given.chance.choice((1, 1, 8)) for _ in range(given.chance.choice((1, 1, 2, 6))))
        joined = texts[0] if len(texts) == 1 else "\n".join(texts)
        weights = tuple(given.chance.choice((1.0, 0.3, np.nan)) for _ in texts)
        turns, context = given.chance.choice((0, 1, 10**9, -1)), (given.chance.choice((0, 1, 10**6)), 1, True)
        out = given.out("f4", embedded + width + (readings if has_reading else 0))
        arguments = (texts, weights, given.chance.choice((joined, joined, "another")), turns, *context)
        found = _remembering(given, functools.partial(_read_to, prompts, arguments, out))
        assert isinstance(found, int)
        many = tuple(
            given.chance.choice((*texts, None, given.text() * 900)) for _ in range(given.chance.choice((0, 1, 9, 600)))
        )
        width_of_all = embedded + width + (readings if has_reading else 0)
        left = prompts.read_all(many, (turns,) * len(many), given.out("f4", len(many), width_of_all))
        assert {row for row, text in enumerate(many) if text is None} <= set(left)


def _read_to(prompts: Any, arguments: tuple[Any, ...], out: Any, memo: dict[str, object]) -> Any:
    return prompts.read(*arguments, memo, out)


def _landmarks(given: _Given, count: int, embedded: int) -> tuple[Any, ...]:
    levels = given.chance.choice((0, 1, 127, 128))
    return given.array("f4", embedded), given.array("i1", count, embedded), given.array("f4", count), levels


def _reading(extension: Any, given: _Given) -> None:
    _bound_reading(extension, given, given.chance.choice((1, 8, 33, 384)), given.size(), given.chance.choice((1, 2, 9)))


def _bound_reading(extension: Any, given: _Given, embedded: int, further: int, readings: int) -> Any:
    count, dense, points = 1 + given.size(), embedded + further + 4, 1 + given.size(17)
    return extension.Reading(
        *_landmarks(given, count, embedded),
        given.array("f8", dense),
        given.array("f8", dense),
        given.array("f8", dense + count, given.chance.choice((12, 16, 36, 13))),
        given.array("f8", readings),
        np.sort(given.array("f8", points)),
        given.array("f8", points),
        given.numbers.normal(size=(2**15, readings)).astype(np.float16),
    )


def _projection(extension: Any, given: _Given) -> None:
    embedded, further, count = given.chance.choice((1, 8, 33, 384)), given.size(), 1 + given.size()
    width, skills, directions = embedded + further, given.chance.choice((1, 2, 32, 128, 129)), 4 * given.size(16)
    regressors, quantiles = 1 + width + count, 1 + given.size(101)
    projection = extension.Projection(
        *_landmarks(given, count, embedded),
        skills,
        *(given.array("f4", size) for size in (width, width, count, count)),
        given.array("f4", regressors, 2 * skills + -(2 * skills) % 4),
        given.array("f8", regressors),
        given.array("f4", embedded, directions),
        given.array("f8", directions),
        np.sort(given.array("f8", quantiles)),
        given.array("f8", quantiles),
        given.array("f8", 11),
    )
    prompts = given.size(5)
    projection.project(given.array("f4", prompts, width + 9), prompts, given.out("f8", prompts, 6 + skills))
    center, scale = given.array("f4", count), given.array("f4", count)
    extension.similarities(given.out("f8", prompts, count), prompts, given.size(), center, scale)
    rows, matrix = given.array("f8", prompts, embedded), given.array("f4", embedded, directions)
    extension.cells(
        given.array("f8", prompts, count), prompts, given.out("u1", prompts, count, 9), given.out("i8", prompts)
    )
    extension.in_order(rows, prompts, embedded, matrix, given.out("f8", prompts, directions))
    padded, families = 4 * given.size(8), given.chance.choice((1, 2, 9, 128, 129))
    cards = extension.Cards(
        projection,
        0.1,
        given.array("f8", families, padded),
        given.array("f8", families, padded),
        given.array("f8", skills, padded),
        given.array("f8", 20, padded),
    )
    for prices in (None, given.array("f8", 2, padded)):
        vector = given.array("f4", width + families)
        cards.forecast(
            vector, given.size(), given.chance.choice((np.inf, 0, 50)), 1.0, prices, given.out("f8", 8, padded)
        )
    cards.qualities(given.array("f4", prompts, width + families), prompts, given.out("f8", prompts, 2, padded))


def _choice(extension: Any, given: _Given) -> None:
    cards = given.size()
    quality, weight = given.array("f8", cards), given.chance.uniform(0, 5)
    extension.loss_and_cost(
        quality, given.array("f8", cards), weight, given.chance.uniform(0, 2), given.out("f8", 2, cards)
    )
    parts = tuple(given.array("f8", cards) for _ in range(given.size(4)))
    extension.totals(parts, quality, given.array("f8", cards), weight, given.out("f8", 3, cards))
    extension.first_of(quality, given.array("?", cards), given.out("i8", given.size(70)))
    extension.choose(
        tuple(given.array("f8", cards) for _ in range(given.chance.choice((4, 4, 4, 4, 3)))),
        parts,
        weight,
        given.chance.uniform(0, 2),
        given.array("?", cards),
        given.out("f8", 5, cards),
        given.out("i8", given.size(70)),
    )
    members = given.size(18)
    columns = [given.array("f8", members).tolist() for _ in range(given.size(4))]
    extension.cascade(
        columns,
        given.array("f8", members).tolist(),
        0.3,
        given.chance.gauss(0, 1),
        weight,
        given.chance.choice((-1.0, 0.5)),
    )


def _plans(extension: Any, given: _Given) -> None:
    def rarely(others: tuple[Any, ...], usual: tuple[Any, ...]) -> Any:
        return given.chance.choice(others if given.chance.random() < 0.03 else usual)

    cards, count, masks = 1 + given.size(), 1 + given.size(6), rarely((0, 17), (1, 2, 16))
    plans = given.numbers.integers(1, 3, size=(count, 7))
    plans[:, 0] = given.numbers.integers(0, 6, size=count)
    is_of_samples = plans[:, 0] == 2
    plans[:, 1] = given.numbers.integers(0, 3, size=count)
    plans[:, 2] = np.where(is_of_samples, 1, given.numbers.integers(2, 4, size=count))
    plans[is_of_samples, 3] += 3
    plans[:, 6] = given.numbers.integers(0, 50, size=count)
    stated = given.numbers.integers(-1, cards, size=(8, 3))
    stated[:, 1] = given.numbers.choice((1, 1, 1, 2), size=8)
    stated[:, 2] = given.numbers.integers(0, max(masks, 1), size=8)
    for numbers in (plans, stated):
        if given.chance.random() < 0.05:
            numbers.flat[given.chance.randrange(numbers.size)] = given.chance.choice((-2, 0, 7, 17, 2**62, -(2**63)))
    points, nodes, latents = rarely((0, 1), (2, 4097)), rarely((0, 17), (1, 11, 16)), rarely((0,), (1, 13))
    bound = extension.Plans(
        given.array("i8", cards) % 9,
        masks,
        plans,
        given.array("f8", count, 4),
        stated,
        given.array("f8", rarely((0, 100), (20_000,))),
        given.array("f8", 5),
        np.sort(given.array("f8", points)),
        np.sort(given.array("f8", points)),
        given.array("f8", nodes),
        given.array("f8", nodes),
        np.sort(given.array("f8", latents)),
        given.array("f8", latents),
    )
    for _ in range(4):
        wanted = tuple(rarely((-1, 99), (number,)) for number in range(count))
        arrays = tuple(given.out("f8", cards) + given.numbers.random(cards) for _ in range(rarely((10,), (11,))))
        money = (1.0, given.chance.uniform(0, 2), 1.0, given.chance.choice((0.0, 1e-6, np.nan)), 1.0)
        rejected = (given.numbers.random((masks, cards)) < given.chance.choice((0.0, 0.3, 1.0))).astype(
            rarely(("i1",), ("?",))
        )
        bound.expected(wanted, given.out("f8", cards) + given.numbers.normal(size=cards), rejected, arrays, *money)


if __name__ == "__main__":
    sys.exit(main())
