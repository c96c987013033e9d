from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from router.errors import CallerError, ConfigurationError, FileError
from router.learn.data import RoutingSet, join, load_set, read_aliases, read_ids, read_prompts, restrict

Write = Callable[..., Path]
HEADER = ("prompt_id", "calculator", "poet")
GOOD = (HEADER, ("a", 1, 0), ("b", 0, 1))


def prompts(*lines: str) -> str:
    return "\n".join(lines) + "\n"


def load_error(folder: Path) -> str:
    with pytest.raises(FileError) as caught:
        load_set(folder)
    return str(caught.value)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_set_is_read_plain_or_compressed(compressed: bool, write_set: Write) -> None:
    data = load_set(write_set(compressed=compressed, meta={"name": "tiny", "licence": "MIT"}))
    assert (data.name, data.license, data.models) == ("tiny", "MIT", ("calculator", "poet"))
    assert [prompt.id for prompt in data.prompts] == ["a", "b"]
    assert data.prompts[0].turns == ("What is 1 plus 1?",)
    np.testing.assert_array_equal(data.scores, np.eye(2, dtype=np.float32))
    assert data.cost_usd is None
    assert data.output_tokens is None


def test_without_a_meta_file_the_name_is_that_of_the_folder_and_the_licence_is_not_stated(write_set: Write) -> None:
    data = load_set(write_set())
    assert (data.name, data.license) == ("set", "not stated")


def test_rows_are_matched_by_id_in_any_order(write_set: Write) -> None:
    data = load_set(write_set(scores=(HEADER, ("b", 0.25, 0.5), ("a", 0.75, 1))))
    np.testing.assert_array_equal(data.scores, np.float32([[0.75, 1], [0.25, 0.5]]))


def test_an_empty_cell_is_unknown(write_set: Write) -> None:
    data = load_set(write_set(scores=(HEADER, ("a", "", 0), ("b", " ", 1))))
    assert np.isnan(data.scores[:, 0]).all()


def test_numeric_ids_match_their_text(write_set: Write) -> None:
    folder = write_set(prompts('{"prompt_id": 7, "prompt": "hi"}'), scores=(HEADER, ("7", 1, 0)))
    assert load_set(folder).prompts[0].id == "7"


def test_a_conversation_is_read_as_its_human_turns(write_set: Write) -> None:
    messages = (
        '[{"role": "system", "content": "s"}, {"role": "user", "content": "one"}, '
        '{"role": "assistant", "content": "x"}, {"role": "user", "content": "two"}]'
    )
    folder = write_set(prompts(f'{{"prompt_id": "a", "messages": {messages}}}'), scores=GOOD[:2])
    assert load_set(folder).prompts[0].turns == ("one", "two")


def test_blank_lines_windows_line_ends_and_a_byte_order_mark_are_accepted(write_set: Write) -> None:
    lines = '\ufeff{"prompt_id": "a", "prompt": "x"}\r\n\r\n{"prompt_id": "b", "prompt": "y"}\r\n'
    folder = write_set(lines, scores="\ufeffprompt_id,m\r\na,1\r\n\r\nb,0\r\n")
    assert load_set(folder).scores.tolist() == [[1.0], [0.0]]


def test_a_lone_surrogate_in_a_prompt_is_replaced(write_set: Write) -> None:
    folder = write_set(prompts('{"prompt_id": "a", "prompt": "x \\ud83d y"}'), scores=GOOD[:2])
    assert load_set(folder).prompts[0].turns == ("x ? y",)


@pytest.mark.parametrize("score_type", ["1..10", "1..10 by a judge", " 0..10", "0.5..10.0"])
def test_scores_with_a_stated_range_are_divided_by_its_upper_end(score_type: str, write_set: Write) -> None:
    folder = write_set(scores=(HEADER, ("a", 10, 1), ("b", 5, 7.5)), meta={"score_type": score_type})
    np.testing.assert_allclose(load_set(folder).scores, [[1.0, 0.1], [0.5, 0.75]])


@pytest.mark.parametrize("score_type", ["0/1", "fraction", "0..1"])
def test_other_score_types_leave_scores_unchanged(score_type: str, write_set: Write) -> None:
    assert load_set(write_set(meta={"score_type": score_type})).scores.max() == 1.0


def test_a_score_above_the_stated_range_is_an_error(write_set: Write) -> None:
    folder = write_set(scores=(HEADER, ("a", 11, 1), ("b", 5, 7)), meta={"score_type": "1..10"})
    assert "scores.csv:2: calculator: 11 is not between 1 and 10" in load_error(folder)


def test_a_score_range_that_ends_at_zero_is_an_error(write_set: Write) -> None:
    assert "meta.json: score_type: the range ends at 0" in load_error(write_set(meta={"score_type": "0..0"}))


@pytest.mark.parametrize(("table", "factor"), [("output_tokens", 1), ("completion_tokens", 1), ("out_chars", 0.25)])
def test_lengths_are_in_tokens(table: str, factor: float, write_set: Write) -> None:
    data = load_set(write_set(**{table: (HEADER, ("a", 100, 200), ("b", 300, ""))}))
    np.testing.assert_array_equal(data.output_tokens, np.float32([[100, 200], [300, np.nan]]) * factor)


def test_token_counts_are_preferred_to_characters(write_set: Write) -> None:
    tables = {
        "out_chars": (HEADER, ("a", 1, 1), ("b", 1, 1)),
        "output_tokens": (HEADER, ("a", 9, 9), ("b", 9, 9)),
    }
    assert np.all(load_set(write_set(**tables)).output_tokens == 9)


def test_a_side_table_is_aligned_by_column_name(write_set: Write) -> None:
    data = load_set(write_set(cost_usd=(("prompt_id", "poet", "other"), ("a", 0.5, 9), ("b", 2, 9))))
    np.testing.assert_array_equal(data.cost_usd, np.float32([[np.nan, 0.5], [np.nan, 2]]))


def test_a_side_table_may_contain_numbers_above_one_but_none_below_zero(write_set: Write) -> None:
    folder = write_set(cost_usd=(HEADER, ("a", 7, -1), ("b", 2, 9)))
    assert "cost_usd.csv:2: poet: -1 is not between 0 and 1e+12" in load_error(folder)


def test_an_alias_renames_a_column(write_set: Write) -> None:
    assert load_set(write_set(), {"poet": "bard"}).models == ("calculator", "bard")


def test_columns_with_the_same_name_are_averaged_over_known_values(write_set: Write) -> None:
    folder = write_set(
        scores=(("prompt_id", "m-v1", "n", "m-v2"), ("a", 1, 0, 0), ("b", "", 1, 1)),
        cost_usd=(("prompt_id", "m-v1", "n", "m-v2"), ("a", 2, 5, 4), ("b", "", 5, "")),
    )
    data = load_set(folder, {"m-v1": "m", "m-v2": "m"})
    assert data.models == ("m", "n")
    np.testing.assert_array_equal(data.scores, np.float32([[0.5, 0], [1, 1]]))
    np.testing.assert_array_equal(data.cost_usd, np.float32([[3, 5], [np.nan, 5]]))


def test_the_hash_changes_with_the_outcomes(write_set: Write) -> None:
    first = load_set(write_set()).sha256
    assert load_set(write_set()).sha256 == first
    assert load_set(write_set(scores=(HEADER, ("a", 0, 0), ("b", 0, 1)))).sha256 != first


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ((*GOOD, ("c", 1, 1)), r'scores.csv:4: prompt_id "c" is not in '),
        ((HEADER, ("a", 1, 0)), 'scores.csv: has no row for 1 of 2 prompts, for example "b"'),
        ((HEADER, ("a", "yes", 0), ("b", 0, 1)), 'scores.csv:2: calculator: expected a number or nothing'),
        ((HEADER, ("a", 1, 0), ("b", "NaN", 1)), 'scores.csv:3: calculator: got "NaN"; leave the cell empty'),
        ((HEADER, ("a", 1, "inf"), ("b", 0, 1)), 'scores.csv:2: poet: got "inf"'),
        ((HEADER, ("a", 1, -0.5), ("b", 0, 1)), "scores.csv:2: poet: -0.5 is not between 0 and 1"),
        ((HEADER, ("a", 1.5, 0), ("b", 0, 1)), "scores.csv:2: calculator: 1.5 is not between 0 and 1"),
        ((HEADER, ("a", 1), ("b", 0, 1)), "scores.csv:2: has 2 cells, the header 3"),
        ((HEADER, ("a", 1, 0, 1), ("b", 0, 1)), "scores.csv:2: has 4 cells, the header 3"),
        ((*GOOD, ("b", 1, 1)), 'scores.csv:4: duplicate prompt_id "b"'),
        ((("prompt_id", "poet", "poet"), ("a", 1, 0)), 'scores.csv:1: duplicate column "poet"'),
        ((("prompt_id", "poet", ""), ("a", 1, 0), ("b", 0, 1)), "scores.csv:1: column 3 has no name"),
        ((("prompt_id",), ("a",)), "scores.csv:1: expected a header"),
        ((HEADER,), "scores.csv: contains no outcomes"),
        ("", "scores.csv:1: expected a header"),
        ('prompt_id,m\na,"' + "1" * 200_000, "scores.csv:2: is not CSV: field larger than field limit"),
        (b"prompt_id,m\na,1\nb,\xff\n", "scores.csv:3: is not UTF-8"),
    ],
)  # fmt: skip
def test_an_error_in_the_score_table_names_file_line_and_column(scores: object, message: str, write_set: Write) -> None:
    assert message in load_error(write_set(scores=scores))


def test_an_unknown_id_suggests_a_similar_one(write_set: Write) -> None:
    lines = prompts('{"prompt_id": "question-1", "prompt": "x"}')
    assert 'did you mean "question-1"?' in load_error(write_set(lines, scores=(HEADER, ("question_1", 1, 1))))


FIRST = '{"prompt_id": "a", "prompt": "x"}'


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("{broken", "prompts.jsonl:2: is not JSON"),
        ("[1]", "prompts.jsonl:2: expected an object with prompt_id and prompt"),
        ("[" * 100_000, "prompts.jsonl:2: is not JSON"),
        ('{"prompt_id": "b", "promt": "y"}', 'expected a text; did you mean "promt"?'),
        ('{"prompt_id": "b", "prompt": 5}', "prompts.jsonl:2: prompt: expected a text; got 5"),
        ('{"prompt": "y"}', "prompts.jsonl:2: prompt_id: is missing"),
        ('{"prompt_id": {}, "prompt": "y"}', "prompts.jsonl:2: prompt_id: expected a text or a whole number"),
        ('{"prompt_id": true, "prompt": "y"}', "prompts.jsonl:2: prompt_id: expected a text or a whole number"),
        (FIRST, 'prompts.jsonl:2: duplicate prompt_id "a" (first on line 1)'),
        ('{"prompt_id": "b", "messages": []}', "prompts.jsonl:2: `messages` must be a list"),
        ('{"prompt_id": "b", "messages": [{"content": "x"}]}', "prompts.jsonl:2: `messages[0].role`"),
    ],
    ids=range(11),
)  # fmt: skip
def test_an_error_in_the_prompts_names_file_and_line(second: str, message: str, write_set: Write) -> None:
    assert message in load_error(write_set(prompts(FIRST, second)))


def test_prompts_that_are_not_utf_8_name_the_line(write_set: Write) -> None:
    assert "prompts.jsonl:2: is not UTF-8" in load_error(write_set(FIRST.encode() + b'\n{"prompt_id": "\xff"}'))


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_a_file_without_prompts_is_an_error(content: str, write_set: Write) -> None:
    assert "prompts.jsonl: contains no prompts" in load_error(write_set(content))


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[:-12],
        lambda raw: b"",
        lambda raw: b"plain text",
        lambda raw: raw[:15] + bytes([raw[15] ^ 255]) + raw[16:],
        lambda raw: raw + b"trailing",
    ],
    ids=["truncated", "empty", "not compressed", "one byte", "trailing"],
)
def test_the_error_names_a_damaged_compressed_file(damage: Callable[[bytes], bytes], write_set: Write) -> None:
    file = write_set(compressed=True) / "prompts.jsonl.gz"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(FileError, match=r"prompts\.jsonl\.gz: (is damaged|contains no prompts)"):
        load_set(file.parent)


@pytest.mark.parametrize("compressed", [False, True])
def test_the_error_names_the_line_that_is_not_text(compressed: bool, write_set: Write) -> None:
    lines = [b'{"prompt_id": "a", "prompt": "x"}\n'] * 3
    folder = write_set(prompts=b"\n" * 70_000 + lines[0] + b"\xff\n" + lines[2], compressed=compressed)
    assert ":70002: is not UTF-8" in load_error(folder)


def test_a_table_with_the_line_ends_and_quotes_of_a_spreadsheet_is_read(write_set: Write) -> None:
    rows = ("\ufeffprompt_id,calculator,poet", '"a\nb",1,0', 'c,"0.5",')
    folder = write_set(
        prompts=[{"prompt_id": "c", "prompt": "x"}, {"prompt_id": "a\nb", "prompt": "y"}], scores="\r\n".join(rows)
    )
    np.testing.assert_array_equal(load_set(folder).scores, np.float32([[0.5, np.nan], [1, 0]]))


def test_a_set_that_is_not_a_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere is not a folder"):
        load_set(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["prompts.jsonl", "scores.csv"])
def test_the_error_names_a_missing_file(name: str, write_set: Write) -> None:
    folder = write_set()
    (folder / name).unlink()
    with pytest.raises(ConfigurationError, match=rf"has no {name} \(or {name}\.gz\)"):
        load_set(folder)


@pytest.mark.parametrize(
    ("meta", "message"), [("{", "meta.json:1: is not JSON"), ("[]", "meta.json:1: expected an object")]
)
def test_the_error_names_a_damaged_meta_file(meta: str, message: str, write_set: Write) -> None:
    assert message in load_error(write_set(meta=meta))


def test_a_prompt_file_can_be_read_without_a_score_table(write_set: Write) -> None:
    assert [prompt.id for prompt in read_prompts(write_set() / "prompts.jsonl")] == ["a", "b"]


def test_ids_are_read_one_a_line(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text(" a \n\nb\n")
    assert read_ids(tmp_path / "ids.txt") == ("a", "b")


def test_a_file_without_ids_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("\n")
    with pytest.raises(FileError, match=r"ids\.txt: contains no prompt ids"):
        read_ids(tmp_path / "ids.txt")


def test_aliases_and_names_are_mapped_to_the_name(tmp_path: Path) -> None:
    (tmp_path / "models.json").write_text('{"m": {"aliases": ["m-1", "m-2"], "price": 3}}')
    assert read_aliases(tmp_path / "models.json") == {"m": "m", "m-1": "m", "m-2": "m"}


@pytest.mark.parametrize("content", ["", "[]", '{"m": []}', '{"m": {}}', '{"m": {"aliases": "abc"}}'])
def test_the_error_of_a_damaged_alias_file_shows_the_expected_form(content: str, tmp_path: Path) -> None:
    (tmp_path / "models.json").write_text(content)
    with pytest.raises(FileError, match=r"models\.json: expected \{"):
        read_aliases(tmp_path / "models.json")


def test_an_alias_of_two_models_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "models.json").write_text('{"m": {"aliases": ["x"]}, "n": {"aliases": ["x"]}}')
    with pytest.raises(FileError, match=r'models\.json: "x" names both m and n'):
        read_aliases(tmp_path / "models.json")


def test_restricting_keeps_the_listed_rows_of_every_table(planted_set: RoutingSet) -> None:
    (restricted,) = restrict([planted_set], ["p5", "p2"], "ids.txt")
    assert [prompt.id for prompt in restricted.prompts] == ["p2", "p5"]
    for rows, whole in (
        (restricted.scores, planted_set.scores),
        (restricted.cost_usd, planted_set.cost_usd),
        (restricted.output_tokens, planted_set.output_tokens),
    ):
        assert rows is not None
        assert whole is not None
        np.testing.assert_array_equal(rows, whole[[2, 5]])


def test_restricting_to_an_unknown_id_names_it_and_a_similar_one(planted_set: RoutingSet) -> None:
    with pytest.raises(CallerError, match=r'ids\.txt: 1 ids are in none of planted.*"p1199"; did you mean'):
        restrict([planted_set], ["p1", "p1199"], "ids.txt")


def test_a_set_without_any_listed_row_is_left_out(planted_set: RoutingSet) -> None:
    one, other = planted_set.rows(np.array([0, 1])), planted_set.rows(np.array([2, 3]))
    (only,) = restrict([one, other], ["p3"], "ids.txt")
    assert [prompt.id for prompt in only.prompts] == ["p3"]


def test_joined_sets_share_columns_with_the_same_name(write_set: Write) -> None:
    one = load_set(write_set(meta={"name": "one", "licence": "MIT"}))
    two = load_set(
        write_set(scores=(("prompt_id", "poet", "new"), ("a", 0.5, 0.25), ("b", 0, 1)), meta={"name": "two"})
    )
    both = join([one, two])
    nan = np.nan
    assert both.models == ("calculator", "poet", "new")
    assert [prompt.id for prompt in both.prompts] == ["one/a", "one/b", "two/a", "two/b"]
    np.testing.assert_array_equal(both.scores, np.float32([[1, 0, nan], [0, 1, nan], [nan, 0.5, 0.25], [nan, 0, 1]]))
    assert (both.name, both.license) == ("one+two", "MIT, not stated")
    assert both.sha256 not in (one.sha256, two.sha256)


def test_joining_a_single_set_returns_it(planted_set: RoutingSet) -> None:
    assert join([planted_set]) is planted_set


def test_a_cell_that_was_read_before_is_checked_and_read_as_the_first_time(write_set: Write) -> None:
    rows = [HEADER, *((f"p{number}", *(("0.25", "") if number % 2 else ("", "0.25"))) for number in range(6))]
    lines = [f'{{"prompt_id": "p{number}", "prompt": "Text {number}"}}' for number in range(6)]
    folder = write_set(prompts=prompts(*lines), scores=rows)
    expected = np.array([[0.25, np.nan] if number % 2 else [np.nan, 0.25] for number in range(6)], np.float32)
    np.testing.assert_array_equal(load_set(folder).scores, expected)
    folder = write_set(prompts=prompts(*lines), scores=[*rows[:-1], ("p5", "0.25", "1.25")])
    assert "scores.csv:7: poet: 1.25 is not between 0 and 1" in load_error(folder)
