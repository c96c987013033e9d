from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from router.errors import ArtifactError
from router.perceive.artifact import hashes
from router.perceive.text import encoder as module
from router.perceive.text.encoder import MAX_CHARACTERS, StaticEncoder
from router.perceive.text.lexicon import is_foreign

FILES = module.FILES
FOLDER = Path(__file__).parents[3] / "router" / "shipped" / "encoder"
TEXTS = {
    "prose": "The quick brown fox doesn't jump over the lazy dog; it sleeps.",
    "code": "def f(x: int) -> str:\n\treturn f'{x!r}' if x != 0 else \"none\"  # ok\n```py\nprint(f(3))\n```",
    "german": "Größere Übungsaufgaben für Fußgänger in Köln – die Straßenverkehrs-Ordnung",
    "emoji": "well done 👍🏽👨‍👩‍👧 🇩🇪!!",
    "combining accents": "re\u0301sume\u0301 nai\u0308ve \u0301alone o\u0302\u0323",
    "url": "see https://example.org/a_b/c?d=e&f=%20g#h or mail me@example.com",
    "numbers": "3.14159, 1,000,000 and 2^10 = 1024; 0x1F; 12e-3",
    "special tokens": "[CLS] a [MASK] b[SEP] [UNK]",
    "odd spaces": "no\u00a0break thin\u2009space ideographic\u3000space line\u2028separator\ttab",
    "zero width": "zero\u200bwidth \ufeffmark soft\u00adhyphen",
    "very long word": "a" * 500 + " " + "ab-" * 100,
    "turkish and ligatures": "İstanbul ﬁne ½",
    "greek letters in mathematics": "α + β = γ, Δ x over π, Δλ = 3 µm",
}
FOREIGN = {
    "chinese": ("请问北京的天气怎么样？我想 去长城。", "What is the weather like in Beijing?"),
    "japanese": ("東京の天気はどうですか？", "What is the weather like in Tokyo?"),
    "korean": ("내일 날씨가 어떨까요?", "What will the weather be like tomorrow?"),
    "russian": ("Какая погода будет завтра?", "What will the weather be like tomorrow?"),
    "greek": ("Τι καιρό θα κάνει αύριο;", "What will the weather be like tomorrow?"),
    "arabic": ("ترجم هذه الجملة إلى اللغة الإنجليزية.", "Translate this sentence into English."),
    "hebrew": ("מתי הסתיימה מלחמת העולם השנייה?", "When did the Second World War end?"),
    "hindi": ("कल मौसम कैसा रहेगा?", "What will the weather be like tomorrow?"),
    "thai": ("สงครามโลกครั้งที่สองสิ้นสุดเมื่อไร", "When did the Second World War end?"),
}
# White space in Python, but control characters in the tokenizer, which drops them.
CONTROL_SPACES = "\x0b\x0c\x1c\x1d\x1e\x1f\x85"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(FOLDER / "tokenizer.json"))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the shipped encoder that a test may damage."""
    return Path(shutil.copytree(FOLDER, tmp_path / "encoder"))


def rewrite_card(folder: Path, **fields: object) -> None:
    card = json.loads((folder / "encoder.json").read_text())
    (folder / "encoder.json").write_text(json.dumps(card | fields))


def rehash(folder: Path) -> None:
    rewrite_card(folder, sha256=hashes(folder, FILES))


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_cached_word_pieces_are_those_of_the_tokenizer(text: str, encoder: StaticEncoder, tokenizer: Tokenizer) -> None:
    assert encoder.pieces(text) == tokenizer.encode(text, add_special_tokens=False).ids


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters=CONTROL_SPACES), max_size=200))
@settings(deadline=None)
def test_word_pieces_of_any_text_without_other_scripts_are_those_of_the_tokenizer(
    encoder: StaticEncoder, tokenizer: Tokenizer, text: str
) -> None:
    text = " ".join(word for word in text.split() if not is_foreign(word))
    assert encoder.pieces(text) == tokenizer.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("space", CONTROL_SPACES)
def test_a_control_character_that_is_white_space_ends_a_word(space: str, encoder: StaticEncoder) -> None:
    assert encoder.pieces(f"rain{space}bow") == encoder.pieces("rain bow")


def test_a_second_call_gives_the_same_pieces(encoder: StaticEncoder) -> None:
    text = "unmistakably antidisestablishmentarian"
    assert encoder.pieces(text) == encoder.pieces(text)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_a_text_in_latin_script_is_the_sum_of_its_tokens_scaled_rows(text: str, encoder: StaticEncoder) -> None:
    table = np.load(FOLDER / "vectors.npy").astype(np.float32) * np.load(FOLDER / "scales.npy")[:, None]
    total = np.take(table, encoder.pieces(text), axis=0).sum(axis=0)
    assert encoder.encode([text])[0].tobytes() == module.unit(total).tobytes()


def test_other_scripts_do_not_collapse_to_one_point(encoder: StaticEncoder) -> None:
    vectors = encoder.encode(["Какая погода будет завтра?", "Напиши стихотворение о море.", "Реши уравнение."])
    assert (vectors @ vectors.T)[np.triu_indices(3, 1)].max() < 0.7


@pytest.mark.parametrize(("text", "english"), FOREIGN.values(), ids=FOREIGN.keys())
def test_a_text_in_another_script_is_near_its_translation(text: str, english: str, encoder: StaticEncoder) -> None:
    vector, translation, other = encoder.encode([text, english, "Which laptop should a student buy at the shop?"])
    assert vector @ translation > vector @ other + 0.05


@pytest.mark.parametrize("digits", ["١٢٣", "१२३", "๑๒๓"])
def test_numbers_in_other_scripts_are_read_as_ascii(digits: str, encoder: StaticEncoder) -> None:
    assert encoder.pieces(f"{digits}год") == encoder.pieces("123год")


def test_marks_that_writers_usually_omit_are_ignored(encoder: StaticEncoder) -> None:
    assert encoder.pieces("за\u0301мок כֶּלֶב") == encoder.pieces("замок כלב")


def test_texts_of_letters_without_an_entry_still_differ(encoder: StaticEncoder) -> None:
    first, second = encoder.encode(["ꮳꮃꭹ ꭶꮼꮒꭿꮝꮧ", "ꭳꮢꮿ ꭴꮎꮣꮅᏹ"])
    assert abs(first @ second) < 0.6
    assert np.linalg.norm(first) == pytest.approx(1, rel=1e-5)


def test_a_batch_gives_the_same_bits_as_single_calls(encoder: StaticEncoder) -> None:
    texts = [*TEXTS.values(), *(text for text, _ in FOREIGN.values())]
    batch = encoder.encode(texts)
    assert all(batch[row].tobytes() == encoder.encode([text]).tobytes() for row, text in enumerate(texts))


def test_a_fresh_encoder_gives_the_same_bits_as_a_used_one(encoder: StaticEncoder) -> None:
    texts = [*TEXTS.values(), *(text for text, _ in FOREIGN.values())]
    assert StaticEncoder.load(FOLDER).encode(texts).tobytes() == encoder.encode(texts[::-1])[::-1].tobytes()


def test_vectors_are_float32_of_length_one(encoder: StaticEncoder) -> None:
    vectors = encoder.encode(list(TEXTS.values()))
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TEXTS), encoder.dimensions)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("text", ["", "   \n\t", "\u200b", "\x00"])
def test_a_text_without_tokens_is_the_zero_vector(text: str, encoder: StaticEncoder) -> None:
    assert not encoder.encode([text]).any()


def test_no_texts_give_no_rows(encoder: StaticEncoder) -> None:
    assert encoder.encode([]).shape == (0, encoder.dimensions)


@given(st.text(max_size=100))
@example("\ud800")
@example("broken \udfff\ud83d end")
@settings(deadline=None)
def test_any_text_even_with_lone_surrogates_has_a_finite_vector(encoder: StaticEncoder, text: str) -> None:
    assert np.isfinite(encoder.encode([text])).all()


@pytest.mark.parametrize(
    ("text", "similar", "unrelated"),
    [
        ("How do I sort a list in Python?", "Sorting an array in Python code", "A poem about autumn leaves"),
        ("The cat sat on the mat", "A kitten is sitting on a rug", "Quarterly revenue grew by nine percent"),
        ("Solve 3x + 5 = 20", "Find x in the equation 2x = 14", "Translate this letter into French"),
    ],
)
def test_similar_sentences_are_closer_than_unrelated_ones(
    text: str, similar: str, unrelated: str, encoder: StaticEncoder
) -> None:
    a, b, c = encoder.encode([text, similar, unrelated])
    assert a @ b > a @ c + 0.1


def test_only_the_two_ends_of_a_huge_text_are_read(encoder: StaticEncoder) -> None:
    start, end = "apple " * 2000, " pear" * 2000
    huge = start + "noise" * 200_000 + end
    assert len(huge) > 1_000_000
    assert len(encoder.pieces(huge)) <= MAX_CHARACTERS
    assert encoder.encode([huge]).tobytes() == encoder.encode([start + "other" * 200_000 + end]).tobytes()


def test_the_token_count_of_a_huge_text_is_for_its_whole_length(encoder: StaticEncoder) -> None:
    assert encoder.count_tokens("word " * 200_000) == pytest.approx(250_000, rel=0.3)


def test_a_text_at_the_limit_is_read_completely(encoder: StaticEncoder) -> None:
    text = ("ab " * MAX_CHARACTERS)[:MAX_CHARACTERS]
    assert len(encoder.pieces(text)) == len(text.split()) * len(encoder.pieces("ab"))


@pytest.mark.parametrize(("text", "tokens"), [("", 1), ("hello world", 3), ("北京大学在哪里", 7), ("Привет", 3)])
def test_the_token_count_is_pieces_or_a_quarter_of_the_characters(
    text: str, tokens: int, encoder: StaticEncoder
) -> None:
    assert encoder.count_tokens(text) == tokens


def test_the_memo_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MEMO_CHARACTERS", 2_000)
    fresh = StaticEncoder.load(FOLDER)
    first = fresh.pieces("mountain river")
    for start in range(0, 5_000, 50):
        fresh.pieces(" ".join(map(str, range(start, start + 50))))
        assert len(fresh._memo) <= 250
    assert fresh.pieces("mountain river") == first


def test_a_conversation_with_more_words_than_the_memo_holds_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MEMO_CHARACTERS", 300)
    texts = [[f"本{number}é{word}" for word in range(20)] for number in range(5)]
    reads = 0

    def read(memo: dict[str, bytes]) -> int | list[str]:
        nonlocal reads
        reads += 1
        assert reads <= 6, "each text is asked for once"
        return next((missing for words in texts if (missing := [word for word in words if word not in memo])), reads)

    fresh = StaticEncoder.load(FOLDER)
    assert fresh.remembering(read) == 6
    fresh.pieces("本 日")
    assert len(fresh._memo) == 2


def test_the_error_names_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"there is no artifact folder .*nowhere"):
        StaticEncoder.load(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["encoder.json", *FILES])
def test_the_error_names_a_missing_file(name: str, copy: Path) -> None:
    (copy / name).unlink()
    with pytest.raises(ArtifactError, match=name):
        StaticEncoder.load(copy)


@pytest.mark.parametrize("name", ["encoder.json", *FILES])
def test_the_error_names_a_truncated_file(name: str, copy: Path) -> None:
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ArtifactError, match=f"{name}.* damaged"):
        StaticEncoder.load(copy)


@pytest.mark.parametrize("manifest", [b"", b"[]", b"\xff\xfe", b'{"format": "\xff"}', b'{"version": "one"}'])
def test_a_manifest_that_cannot_be_decoded_is_damaged(manifest: bytes, copy: Path) -> None:
    (copy / "encoder.json").write_bytes(manifest)
    with pytest.raises(ArtifactError, match=r"encoder\.json: is damaged"):
        StaticEncoder.load(copy)


def test_the_error_for_another_version_names_the_version_that_is_read(copy: Path) -> None:
    rewrite_card(copy, version=99)
    with pytest.raises(ArtifactError, match=r"encoder\.json: is of version 99, this release reads version 2"):
        StaticEncoder.load(copy)


def test_the_error_for_another_format_names_the_expected_one(copy: Path) -> None:
    rewrite_card(copy, format="something-else")
    with pytest.raises(ArtifactError, match='expected the format "pulvinar-encoder", found "something-else"'):
        StaticEncoder.load(copy)


def test_an_unknown_key_in_the_manifest_is_an_error(copy: Path) -> None:
    rewrite_card(copy, surprise=1)
    with pytest.raises(ArtifactError, match=r"encoder\.json: is damaged.*surprise"):
        StaticEncoder.load(copy)


@pytest.mark.parametrize("name", FILES)
def test_a_file_without_a_hash_in_the_manifest_is_rejected(name: str, copy: Path) -> None:
    card = json.loads((copy / "encoder.json").read_text())
    rewrite_card(copy, sha256={key: value for key, value in card["sha256"].items() if key != name})
    with pytest.raises(ArtifactError, match=name):
        StaticEncoder.load(copy)


def test_a_token_table_of_another_shape_is_rejected(copy: Path) -> None:
    np.save(copy / "scales.npy", np.ones(7, dtype=np.float32))
    rehash(copy)
    with pytest.raises(ArtifactError, match="the token table does not have the shape that"):
        StaticEncoder.load(copy)


def damage_lexicon(copy: Path, **arrays: np.ndarray) -> None:
    with np.load(copy / "lexicon.npz") as stored:
        np.savez(copy / "lexicon.npz", **{**stored, **arrays})
    rehash(copy)


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"tokens": np.zeros((3, 3), dtype=np.uint16)}, "differ in shape"),
        ({"tokens": np.zeros(3, dtype=np.float32)}, "tokens is not uint16"),
        ({"words": np.frombuffer(b"a\n\xff", dtype=np.uint8)}, "utf-8"),
        ({"words": np.frombuffer(b"a\nb", dtype=np.uint8)}, "the numbers of words and of entries differ"),
    ],
)
def test_a_damaged_lexicon_is_rejected(arrays: dict[str, np.ndarray], problem: str, copy: Path) -> None:
    damage_lexicon(copy, **arrays)
    with pytest.raises(ArtifactError, match=rf"lexicon\.npz: is damaged: .*{problem}"):
        StaticEncoder.load(copy)


def test_a_lexicon_of_another_size_is_rejected(copy: Path) -> None:
    rewrite_card(copy, words=7)
    with pytest.raises(ArtifactError, match="the lexicon does not have as many words as"):
        StaticEncoder.load(copy)


def test_a_token_table_of_floats_is_rejected(copy: Path) -> None:
    np.save(copy / "vectors.npy", np.load(copy / "vectors.npy").astype(np.float32))
    rehash(copy)
    with pytest.raises(ArtifactError, match="the token table is not int8"):
        StaticEncoder.load(copy)


@pytest.mark.parametrize("content", ["{}", "no json", '{"model": 3}'])
def test_a_damaged_tokenizer_is_rejected(content: str, copy: Path) -> None:
    (copy / "tokenizer.json").write_text(content)
    rehash(copy)
    with pytest.raises(ArtifactError, match=r"tokenizer\.json: is damaged"):
        StaticEncoder.load(copy)


def test_a_tokenizer_with_more_tokens_than_the_token_table_is_rejected(copy: Path) -> None:
    stated = json.loads((copy / "tokenizer.json").read_bytes())
    stated["model"]["vocab"]["beyond the table"] = len(stated["model"]["vocab"])
    (copy / "tokenizer.json").write_text(json.dumps(stated))
    rehash(copy)
    with pytest.raises(ArtifactError, match=r"tokenizer\.json: has 30523 tokens, the token table has 30522"):
        StaticEncoder.load(copy)


def test_a_pickled_table_is_rejected(copy: Path) -> None:
    np.save(copy / "vectors.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    rehash(copy)
    with pytest.raises(ArtifactError, match=r"vectors\.npy: is damaged"):
        StaticEncoder.load(copy)


def test_the_fingerprint_changes_with_the_files(copy: Path, encoder: StaticEncoder) -> None:
    assert StaticEncoder.load(copy).fingerprint == encoder.fingerprint
    np.save(copy / "scales.npy", np.load(copy / "scales.npy") * 2)
    rehash(copy)
    assert StaticEncoder.load(copy).fingerprint != encoder.fingerprint


@given(
    st.lists(st.one_of(st.text(max_size=60), st.sampled_from(["", "a tree", "дерево and tree", "你好"])), max_size=90)
)
@example(["What is 7 plus 8?", "", "A poem on the sea in winter", "собака and a dog"] * 150)
@settings(deadline=None)
def test_a_long_batch_gives_the_same_bits_as_single_texts(encoder: StaticEncoder, texts: list[str]) -> None:
    vectors = encoder.encode(texts)
    assert len(vectors) == len(texts)
    for vector, text in zip(vectors, texts, strict=True):
        assert vector.tobytes() == encoder.encode([text])[0].tobytes()
