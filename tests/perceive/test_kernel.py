"""The compiled kernel gives the bits of the numpy code, alone and in a batch, with every set of instructions."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.decision import many_cards
from router.cards import Catalog
from router.cards.catalog import load_catalog
from router.loading import load_predictor
from router.perceive import kernel
from router.perceive.features import feature_vectors
from router.perceive.forecaster import Forecaster
from router.perceive.kernel.words import END, FIRST
from router.perceive.predictor import Predictor
from router.perceive.reader import Context
from router.perceive.text import text_features
from router.perceive.text.encoder import StaticEncoder
from router.perceive.text.lexicon import Lexicon
from router.perceive.text.tokenizer import StoredTokenizer
from router.types import Features, Floats, Forecast

ROOT = Path(__file__).parents[2]
SAMPLE = 12 if os.environ.get("CI") else 2

MATHEMATICS = (
    *("π r² ≤ Δλ/λ", "Σxᵢ ΑΣ σε ΣΕ το ω̂ ἀ", "αβγ β-δε x→ψ(ξ)", "👍🏽 ❤️ 👩‍💻ok 🇫🇷!", "𝑥∈ℝ 𝟙 ½ № ™"),
    *("это π/2 日本👍", "κΣ. Δ\u0301 ϕ"),
)
ODD = (
    *(*MATHEMATICS, "ϕ\u037e Ω\u0387"),
    *(
        "",
        " ",
        "?",
        "What is 17 * 23?",
        "[MASK] [x] [",
        "a\u00a0b\u2028c\u3000d\x85e\x1cf",
        "\ud800 x\ud800?",
        "x" * 300,
    ),
    *(
        "K" * 120,
        "İs thİs the \u212aelvin?",
        "ﬁne Ⅷ ǅ ß ẞ Σας",
        "(A) one\n(B) two\nC. three\nD: four",
        "\n\n\n",
        "a" * 3_001,
    ),
    *(
        "日本語 テキスト вопрос? שאלה ১২৩ α + β",
        "🙂👍🏽 \U0001d54f",
        "def f(x):\n    return x => y::z;\n```",
        "'What?' 1,234 56",
        "\x00\x7f",
    ),
    "word " * 2_000 + "end?",
)
CHARACTERS = st.one_of(
    st.characters(), st.sampled_from(" \n\t?()[]{}AB.:;=><`#K\u212aİ\u0307ß日本の\ud800\U0001f642\u00a0")
)


@pytest.fixture(scope="module", autouse=True)
def built() -> ModuleType:
    if os.environ.get(kernel.VARIABLE) == "off":
        pytest.skip("PULVINAR_KERNEL=off")
    if kernel.extension() is None and shutil.which("cc") is None:
        pytest.skip("there is no compiler here")
    extension = kernel.extension()
    assert extension is not None, kernel.status()
    return extension


@pytest.fixture(scope="module")
def compiled() -> Predictor:
    return load_predictor()


@pytest.fixture(scope="module")
def specified(compiled: Predictor) -> Predictor:
    return in_numpy(compiled)


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_catalog(ROOT / "model_cards")


@pytest.fixture
def each_set_of_instructions(built: ModuleType) -> Iterator[Iterator[str]]:
    """Uses one set after the other, of those that this machine has."""
    usual = built.instructions()

    def used() -> Iterator[str]:
        for name in dict.fromkeys(("baseline", usual)):
            built.use(name)
            yield name

    yield used()
    built.use(usual)


def everyday() -> list[str]:
    lines = (ROOT / "data/everyday/prompts.jsonl").read_text().splitlines()
    return [prompt for line in lines if (prompt := json.loads(line).get("prompt"))]


def texts(count: int, words: int = 60) -> list[str]:
    """Excerpts of everyday prompts, one after the other."""
    running = " ".join(everyday()).split()
    return [" ".join(running[at * words : (at + 1) * words]) for at in range(count)]


def in_numpy(predictor: Predictor) -> Predictor:
    """The same predictor, as it is without the extension."""
    encoder = predictor.encoder
    assert isinstance(encoder, StaticEncoder)
    with kernel.without_extension():
        same = type(encoder)(*encoder.__reduce__()[1])
        return Predictor(predictor.head, same, predictor.manifest, ROOT / "router" / "shipped" / "predictor")


def prompts_of_the_tests() -> list[str]:
    """Every prompt of the shipped probes and of the everyday set, lines of other files of the tests, odd texts."""
    found = [*ODD, *texts(40), *texts(4, 1_200), *everyday()[::SAMPLE]]
    probes = (ROOT / "router/shipped/probes/prompts.jsonl").read_text().splitlines()
    found += [json.loads(line)["prompt"] for line in probes[::SAMPLE]]
    for kind in ("*.jsonl", "*.tsv", "*.txt"):
        for file in sorted((ROOT / "tests").rglob(kind)):
            found += file.read_text().splitlines()[:10]
    return found


def bits(forecast: Forecast) -> dict[str, object]:
    values = msgspec.structs.asdict(forecast)
    return {name: each.tobytes() if isinstance(each, np.ndarray) else each for name, each in values.items()}


def compare_reading(text: str, compiled: Predictor, specified: Predictor) -> None:
    compare_profiles(same_vector(text, compiled, specified), compiled, specified)


def same_vector(text: str, compiled: Predictor, specified: Predictor) -> Floats:
    """The vector of the text, after it is found to be read alike; shape (1, width)."""
    one, other = compiled.encoder, specified.encoder
    assert isinstance(one, StaticEncoder)
    assert isinstance(other, StaticEncoder)
    assert one.pieces(text) == other.pieces(text)
    assert one.count_tokens(text) == other.count_tokens(text)
    assert one.encode([text]).tobytes() == other.encode([text]).tobytes()
    vector = compiled.vectors([(text,)])
    assert vector.tobytes() == specified.vectors([(text,)]).tobytes()
    # With a context, prompts are read one by one.
    alone = feature_vectors(one, [(text,)], compiled.reader, [Context(len(text))])
    assert vector.tobytes() == alone.tobytes()
    return vector


def compare_profiles(vectors: Floats, compiled: Predictor, specified: Predictor) -> None:
    """Those that the kernel makes one by one, with those that numpy makes together."""
    together = specified.profile(vectors)
    for row in range(len(vectors)):
        for field, expected in zip(compiled.profile(vectors[row : row + 1]), together, strict=True):
            assert np.ascontiguousarray(field).tobytes() == np.ascontiguousarray(expected[row : row + 1]).tobytes()


def test_the_kernel_was_built_from_the_sources_that_are_here(built: ModuleType) -> None:
    script = f"import sys; sys.path.insert(0, {str(ROOT / 'kernel')!r}); import build; print(build.digest())"
    digest = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()
    assert digest == built.SOURCES, "run: python kernel/build.py"


def test_every_prompt_of_the_tests_is_read_alike(compiled: Predictor, specified: Predictor) -> None:
    # For many vectors together, numpy needs a fraction of the time that it needs for each alone.
    vectors = [same_vector(text, compiled, specified) for text in prompts_of_the_tests()]
    for start in range(0, len(vectors), 100):
        compare_profiles(np.concatenate(vectors[start : start + 100]), compiled, specified)


@settings(deadline=None, max_examples=150)
@given(st.text(CHARACTERS, max_size=80))
def test_any_text_is_read_alike(compiled: Predictor, specified: Predictor, text: str) -> None:
    compare_reading(text, compiled, specified)


def test_texts_are_read_alike_with_every_set_of_instructions(
    each_set_of_instructions: Iterator[str], compiled: Predictor, specified: Predictor
) -> None:
    for _ in each_set_of_instructions:
        for text in (*ODD, *texts(10)):
            compare_reading(text, compiled, specified)


@pytest.mark.no_cover
def test_every_code_point_is_the_same_blank_letter_and_class(compiled: Predictor, specified: Predictor) -> None:
    # Beyond the third plane hardly a character is assigned.
    for start in (*range(0, 0x32000, 3001), *range(0x32000, 0x110000, 30_010)):
        points = [chr(point) for point in range(start, min(start + 3001, 0x110000))]
        # Alone and between letters: where words end, what is lowered to ASCII letters, how many units it takes.
        for text in (" ".join(points[::7]) + "passage".join(points[::11]) + "?", "".join(points)):
            assert compiled.vectors([(text,)]).tobytes() == specified.vectors([(text,)]).tobytes(), hex(start)


@pytest.mark.no_cover
def test_words_with_any_character_have_the_pieces_of_the_tokenizer(compiled: Predictor, specified: Predictor) -> None:
    for start in (
        *range(0x80, 0x3040, 500),
        0xFDF0,
        0xFEF0,
        *range(0x1D3F0, 0x1D810, 500),
        *range(0x1EFF0, 0x20010, 500),
    ):
        points = [chr(point) for point in range(start, start + 500)]
        text = " ".join(f"{point} re{point}ad. {point * 2}X" for point in points)
        assert compiled.encoder.pieces(text) == specified.encoder.pieces(text), hex(start)


def test_symbols_and_letters_of_mathematics_have_the_pieces_of_the_tokenizer_without_it(
    compiled: Predictor, specified: Predictor
) -> None:
    fresh = pickle.loads(pickle.dumps(compiled.encoder))
    assert isinstance(fresh, StaticEncoder)
    for text in MATHEMATICS:
        assert fresh.pieces(text) == specified.encoder.pieces(text), text
    assert "made" not in vars(fresh._stored_tokenizer)


def test_the_words_of_the_lexicon_are_found_alike(built: ModuleType, compiled: Predictor, specified: Predictor) -> None:
    lexicons = [predictor.encoder._lexicon for predictor in (compiled, specified)]
    for start in range(0x370, 0x31000, 997):
        run = "".join(map(chr, range(start, start + 997, 7)))
        found, expected = (list(lexicon.entries(run)) for lexicon in lexicons)
        assert found == expected, hex(start)
    words = ["а", "аб", "", "а" * 300, "аб", "😀я", "я"]
    listed = built.Words("\n".join(words).encode())
    assert listed.entries("абв😀яаа") == [4, -3, 5, 0, 0]
    assert listed.entries("") == built.Words(b"").entries("") == []
    with pytest.raises(TypeError):
        listed.entries(b"a")
    with pytest.raises(TypeError):
        built.Words("а")


@pytest.mark.parametrize(
    "text", ["a[MASK]b", "[mask] [MA\u200bSK] [[SEP]]", "list[int] [x", "don’t “quote…” naïve—café €5"]
)
def test_words_with_brackets_and_typography_have_the_pieces_of_the_tokenizer(
    compiled: Predictor, specified: Predictor, text: str
) -> None:
    assert compiled.encoder.pieces(text) == specified.encoder.pieces(text)


@pytest.mark.parametrize("text", ["日" + "…" * 5_400, "日" + "½" * 6_000, "a日" + "㎯" * 3_000])
def test_parts_that_normalising_makes_longer_than_the_kernel_reads_have_all_their_pieces(
    compiled: Predictor, specified: Predictor, text: str
) -> None:
    assert compiled.encoder.pieces(text) == specified.encoder.pieces(text)


def test_a_million_characters_are_read_alike(compiled: Predictor, specified: Predictor) -> None:
    for text in ("a1 (B) ?\n" * 111_112, "é日 " * 333_334, "x" * 1_000_000):
        assert compiled.vectors([(text,)]).tobytes() == specified.vectors([(text,)]).tobytes()


def test_a_batch_has_the_bits_of_single_calls(compiled: Predictor, specified: Predictor) -> None:
    conversations = [(text,) for text in (*ODD, *texts(40))] + [("What is ice?", "and of water?"), ("a", "", "why?")]
    together = compiled.vectors(conversations)
    for vector, turns in zip(together, conversations, strict=True):
        assert vector.tobytes() == compiled.vectors([turns])[0].tobytes()
    # Texts without words of other scripts are summed together in numpy.
    assert together.tobytes() == specified.vectors(conversations).tobytes()
    profiles = compiled.profile(together)
    for row in range(len(together)):
        alone = compiled.profile(together[row : row + 1])
        assert all(field[row].tobytes() == of_one[0].tobytes() for field, of_one in zip(profiles, alone, strict=True))


def test_threads_that_read_batches_at_a_time_get_the_same_vectors(compiled: Predictor) -> None:
    conversations = [(text,) for text in (*ODD, *texts(300))]
    expected = compiled.vectors(conversations).tobytes()
    with ThreadPoolExecutor(4) as threads:
        assert all(found.tobytes() == expected for found in threads.map(compiled.vectors, [conversations] * 8))


def test_many_prompts_are_not_written_past_the_vectors(built: ModuleType, compiled: Predictor) -> None:
    encoder, reader = compiled.encoder, compiled.reader
    assert isinstance(encoder, StaticEncoder)
    assert encoder.bound is not None
    assert reader is not None
    prompts = built.Prompts(*encoder.bound, text_features.bound(built), reader.bound)
    out = np.empty((2, compiled.width), np.float32)
    assert prompts.read_all(("one", None), (1, 1), out) == [1]
    for texts_, turns, error in (
        (("a",), (1,), ValueError),
        (("a", "b"), (1,), TypeError),
        (["a", "b"], (1, 1), TypeError),
        (("a", "b"), (1, "two"), TypeError),
    ):
        with pytest.raises(error):
            prompts.read_all(texts_, turns, out)


def test_the_qualities_of_all_measured_models_are_alike(
    each_set_of_instructions: Iterator[str], compiled: Predictor, specified: Predictor
) -> None:
    vectors = compiled.vectors([(text,) for text in (*ODD[:12], *texts(12))])
    specification = specified.qualities(vectors)
    for _ in each_set_of_instructions:
        for one, other in zip(compiled.qualities(vectors), specification, strict=True):
            assert np.ascontiguousarray(one).tobytes() == np.ascontiguousarray(other).tobytes()
            assert len(one[0]) == len(compiled.models) + 1


def test_qualities_do_not_read_past_the_vectors(built: ModuleType, compiled: Predictor) -> None:
    strengths, columns = np.ones((compiled.width - len(compiled.head.skills.center), 4)), np.ones((20, 4))
    interactions = np.ones((compiled.head.skills.in_domain.shape[1], 4))
    cards = built.Cards(compiled.compiled, 0.1, strengths, strengths, interactions, columns)
    vectors = np.zeros((3, compiled.width), np.float32)
    for array, prompts, out in (
        (vectors, 4, np.empty((4, 2, 4))),
        (vectors, -1, np.empty((3, 2, 4))),
        (vectors, 3, np.empty((3, 1, 4))),
        (vectors, 1 << 60, np.empty((3, 2, 4))),
    ):
        with pytest.raises(ValueError, match=r"expected|out of range"):
            cards.qualities(array, prompts, out)


def test_training_projects_batches_alike(
    each_set_of_instructions: Iterator[str], compiled: Predictor, specified: Predictor
) -> None:
    vectors = compiled.vectors([(text,) for text in (*ODD[:12], *texts(12))])[:, : len(compiled.head.skills.center)]
    counts = (0, 1, len(vectors))
    specifications = [specified.projector(vectors[:count]) for count in counts]
    for _ in each_set_of_instructions:
        for count, specification in zip(counts, specifications, strict=True):
            for one, other in zip(compiled.projector(vectors[:count]), specification, strict=True):
                assert one.tobytes() == other.tobytes()


def test_batches_that_do_not_fit_are_refused(built: ModuleType) -> None:
    ones, cosines = np.ones(8, np.float32), np.zeros((2, 8))
    for wrong in ((cosines, 3, 1.0, ones, ones), (cosines, 2, 1.0, ones, ones[:4]), (cosines, -1, 1.0, ones, ones)):
        with pytest.raises(ValueError, match=r"expected|out of range"):
            built.similarities(*wrong)
    matrix, out = np.ones((8, 4), np.float32), np.empty((2, 4))
    for wrong in (
        (cosines, 3, 8, matrix, out),
        (cosines, 2, 0, matrix, out),
        (cosines, 2, 8, matrix[:, :3].copy(), out),
        (cosines, 2, 8, matrix, out[:1]),
    ):
        with pytest.raises(ValueError, match=r"expected|out of range|fit"):
            built.in_order(*wrong)


def features_of(vectors: Floats) -> Iterator[Features]:
    tokens, limits, scales = (1, 0, 90, 5_000, 300_000, 3_000_000), (None, 60, 0), (1.0, 0.1, 7.0)
    for row, vector in enumerate(vectors):
        yield Features(
            vector,
            tokens[row % 6],
            frozenset({"text"}),
            frozenset(),
            output_limit=limits[row % 3],
            thinking_scale=scales[row % 3],
        )


def assert_same_forecasts(one: Forecaster, other: Forecaster, vectors: Floats) -> None:
    for features in features_of(vectors):
        assert bits(one(features)) == bits(other(features))


@pytest.mark.parametrize("cards", [0, 1, 3, 100, pytest.param(1_100, marks=pytest.mark.slow)])
def test_forecasts_of_any_number_of_cards_are_alike(
    cards: int,
    each_set_of_instructions: Iterator[str],
    compiled: Predictor,
    specified: Predictor,
    catalog: Catalog,
) -> None:
    vectors = compiled.vectors([(text,) for text in (*ODD[:12], *texts(12))])
    many = many_cards(catalog, cards)
    one, other = compiled.bind(many), specified.bind(many)
    for _ in each_set_of_instructions:
        assert_same_forecasts(one, other, vectors if cards < 1_000 else vectors[:2])


def test_forecasts_with_tiers_shapes_examples_and_parts_are_alike(
    compiled: Predictor, specified: Predictor, catalog: Catalog
) -> None:
    cards = list(catalog)
    cards[0] = msgspec.structs.replace(cards[0], examples=("What is 17 * 23?", "What is 9 * 31?", "Compute 12 * 12."))
    shown = Catalog(cards)
    one, other = compiled.bind(shown), specified.bind(shown)
    vectors = compiled.vectors([("What is 21 * 14?",), *((text,) for text in texts(30))])
    assert_same_forecasts(one, other, vectors)
    parts = tuple(features_of(vectors[:3]))
    whole = msgspec.structs.replace(next(features_of(vectors)), parts=parts)
    assert [bits(part) for part in one(whole).parts] == [bits(part) for part in other(whole).parts]


def test_an_artifact_that_is_read_again_forecasts_alike(compiled: Predictor, specified: Predictor) -> None:
    again = load_predictor()
    vectors = feature_vectors(again.encoder, [(text,) for text in texts(8)], again.reader)
    assert vectors.tobytes() == specified.vectors([(text,) for text in texts(8)]).tobytes()
    assert again.id == compiled.id
    for one, other in zip(again.profile(vectors), specified.profile(vectors), strict=True):
        assert np.ascontiguousarray(one).tobytes() == np.ascontiguousarray(other).tobytes()


def test_a_copy_in_another_process_forecasts_alike(compiled: Predictor) -> None:
    copy, request = pickle.loads(pickle.dumps(compiled)), ("What is 17 * 23?",)
    assert copy.vectors([request]).tobytes() == compiled.vectors([request]).tobytes()
    assert copy.id == compiled.id


def test_a_lexicon_in_the_order_of_columns_is_read_alike(compiled: Predictor, specified: Predictor) -> None:
    encoder = compiled.encoder
    assert isinstance(encoder, StaticEncoder)
    card, rows, scales, tokenizer, lexicon = encoder.__reduce__()[1]
    tokens, weights, *_ = lexicon.stored
    words = lexicon._words.decode()
    by_column = Lexicon(words, np.asfortranarray(tokens), np.asfortranarray(weights))
    other = StaticEncoder(card, rows, scales, tokenizer, by_column)
    assert other.encode(["北京大学 Привет"]).tobytes() == specified.encoder.encode(["北京大学 Привет"]).tobytes()


def test_a_tokenizer_that_keeps_upper_case_is_not_compiled(compiled: Predictor) -> None:
    encoder = compiled.encoder
    assert isinstance(encoder, StaticEncoder)
    card, rows, scales, tokenizer, lexicon = encoder.__reduce__()[1]
    stated = json.loads(tokenizer.content)
    stated["normalizer"]["lowercase"] = False
    cased = StoredTokenizer(json.dumps(stated).encode(), card.tokens)
    assert encoder.bound is not None
    assert StaticEncoder(card, rows, scales, cased, lexicon).bound is None


def test_what_does_not_fit_is_refused(built: ModuleType, compiled: Predictor) -> None:
    lexicon = np.array([[2, 0]], np.uint16), np.array([[255, 9]], np.uint8)
    rows, scales = np.zeros((3, 8), np.int8), np.ones(3, np.float32)
    table = built.Table(rows, scales, *lexicon, 1, 1, 2, 10)
    table.embed(np.array([0, 2, 3, 13]).tobytes(), np.zeros(8, np.float32))
    for beyond in (-1, 14):
        with pytest.raises(ValueError, match="no such piece"):
            table.embed(np.array([beyond]).tobytes(), np.zeros(8, np.float32))
    for out in (np.zeros(7, np.float32), np.zeros(8), np.zeros(16, np.float32)[::2]):
        with pytest.raises((ValueError, BufferError)):
            table.embed(b"", out)
    with pytest.raises(ValueError, match="rows and scales"):
        built.Table(rows[:2], scales, *lexicon, 1, 1, 2, 10)
    for first, hashed in ((1, 3), (4, 1), (-1, 1), (0, 0)):
        with pytest.raises(ValueError, match="lexicon and the table"):
            built.Table(rows, scales, *lexicon, 1, first, hashed, 10)
    with pytest.raises(ValueError, match="not in the table"):
        built.Table(rows, scales, lexicon[0] + 1, lexicon[1], 1, 1, 2, 10)
    characters = np.zeros((END - FIRST, 3), np.int32)
    pieces = built.Pieces(["[UNK]", "a", "##b"], "##", 0, 100, characters, ("[x]",))
    assert np.frombuffer(pieces.ids("ab A! a", {}), np.int64).tolist() == [1, 2, 1, 0, 1]
    assert pieces.ids("a é [x] é", {}) == ["é", "[x]", "é"]
    with pytest.raises(TypeError):
        pieces.ids("é", {"é": [1]})
    with pytest.raises(TypeError):
        pieces.ids(b"a", {})
    with pytest.raises(ValueError, match="begin with a bracket"):
        built.Pieces(["[UNK]"], "##", 0, 100, characters, ("<x>",))
    for positions in (-1000, 1 << 40):
        with pytest.raises(ValueError, match="positions is out of range"):
            built.Surface(np.zeros(0x10000, np.uint8), (), (), (), positions)
    with pytest.raises(ValueError, match="each as it was bound"):
        built.Prompts(pieces, pieces, pieces, None)
    assert compiled.reader is not None
    surface = built.Surface(np.zeros(0x10000, np.uint8), (), (), (), 0)
    with pytest.raises(ValueError, match="another width"):
        built.Prompts(pieces, table, surface, compiled.reader.bound)
    prompts, out = built.Prompts(pieces, table, surface, None), np.zeros(8 + 32, np.float32)
    assert prompts.read(("ab a",), (1.0,), "ab a", 1, 4, 1, False, {}, out) == 3
    refused: list[tuple[tuple[Any, ...], tuple[Any, ...], type[Exception]]] = [
        ((), (), ValueError),
        (("a",), (), ValueError),
        (("a",) * 33, (1.0,) * 33, ValueError),
        ((1,), (1.0,), TypeError),
        (("a", "a"), ("b", "b"), TypeError),
    ]
    for turns, weights, error in refused:
        with pytest.raises(error):
            prompts.read(turns, weights, "a", 1, 4, 1, False, {}, out)


def test_an_extension_of_other_sources_is_not_used_and_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "_SOURCES", tmp_path)
    # Installed from a wheel: there are no sources.
    assert kernel._load()[0] is not None
    (tmp_path / "module.c").write_text("changed")
    extension, reason = kernel._load()
    assert extension is None
    assert reason == "the compiled kernel is older than kernel/ in this tree; run: python kernel/build.py"


def test_the_variable_keeps_numpy_and_says_so() -> None:
    script = "from router.perceive import kernel; print(kernel.status())"
    environment = {**os.environ, kernel.VARIABLE: "off"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "numpy (PULVINAR_KERNEL=off)"
