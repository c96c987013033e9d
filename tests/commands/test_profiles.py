"""`route cards profile` and `route cards similar`."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from router.pipeline import Router
from router.wire.chat.request import ChatRequest
from tests.commands.conftest import Run
from tests.perceive.purpose.tasks import prompts, write_folder


@pytest.fixture
def cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of cards in which the card of SQL states no examples."""
    for name in ("PULVINAR_PROFILES", "PULVINAR_EVIDENCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    folder = write_folder(tmp_path / "cards")
    file = folder / "sql.yaml"
    text = file.read_text()
    file.write_text(text[: text.index("examples:")])
    return folder


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    file = tmp_path / "docs.jsonl"
    lines = [{"prompt": text} if at % 2 else {"text": text} for at, text in enumerate(prompts("sql")[:5])]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def choice(router: Router, text: str) -> str:
    request = ChatRequest.from_body({"messages": [{"role": "user", "content": text}]})
    return router.route(request, policy="best").decision.card


def test_a_profile_is_written_beside_the_cards_and_read_with_them(run: Run, cards: Path, docs: Path) -> None:
    assert choice(Router.default(cards=cards), prompts("sql")[7]) == "base-8b"
    report = json.loads(run("cards", "profile", "sql", "--from", docs, "--cards", cards, "--json").out)
    assert report["file"] == str(cards.parent / "profiles" / "sql.npz")
    assert (report["prompts"], report["outcomes"]) == (5, 0)
    router = Router.default(cards=cards)
    assert choice(router, prompts("sql")[7]) == "sql"
    assert choice(router, prompts("haiku")[7]) == "haiku"
    (cards.parent / "profiles" / "sql.npz").unlink()
    assert choice(Router.default(cards=cards), prompts("sql")[7]) == "base-8b"


def test_the_folder_of_profiles_can_be_stated(
    run: Run, cards: Path, docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULVINAR_PROFILES", str(tmp_path / "elsewhere"))
    run("cards", "profile", "sql", "--from", docs, "--cards", cards)
    assert (tmp_path / "elsewhere" / "sql.npz").is_file()
    assert choice(Router.default(cards=cards), prompts("sql")[7]) == "sql"


def test_an_export_can_be_imported_elsewhere(run: Run, cards: Path, docs: Path, tmp_path: Path) -> None:
    run("cards", "profile", "sql", "--from", docs, "--cards", cards)
    assert run("cards", "profile", "sql", "--export", tmp_path / "out.npz", "--cards", cards).code == 0
    own = (cards.parent / "profiles" / "sql.npz").read_bytes()
    (cards.parent / "profiles" / "sql.npz").unlink()
    assert run("cards", "profile", "sql", "--import", tmp_path / "out.npz", "--cards", cards).code == 0
    assert (cards.parent / "profiles" / "sql.npz").read_bytes() == own
    assert choice(Router.default(cards=cards), prompts("sql")[7]) == "sql"


def test_an_export_has_the_outcomes_of_probes_and_no_text(run: Run, cards: Path, tmp_path: Path) -> None:
    (tmp_path / "evidence").mkdir()
    outcome = {
        "domain": "d",
        "grader": "text",
        "score": 1.0,
        "answer": "a",
        "model": "sql",
        "time": "",
        "latency_ms": 1,
    }
    lines = [json.dumps({**outcome, "probe": str(at), "prompt": text}) for at, text in enumerate(prompts("sql")[:4])]
    (tmp_path / "evidence" / "sql.jsonl").write_text("\n".join(lines) + "\n")
    report = json.loads(
        run("cards", "profile", "sql", "--export", tmp_path / "out.npz", "--cards", cards, "--json").out
    )
    assert report["outcomes"] == 4
    raw = (tmp_path / "out.npz").read_bytes()
    assert not any(word.encode() in raw for word in ("SQL", "customer", "orders"))


def test_what_is_there_is_replaced_only_on_request(run: Run, cards: Path, docs: Path) -> None:
    run("cards", "profile", "sql", "--from", docs, "--cards", cards)
    again = run("cards", "profile", "sql", "--from", docs, "--cards", cards)
    assert (again.code, "already exists; --overwrite replaces it" in again.err) == (2, True)
    assert run("cards", "profile", "sql", "--from", docs, "--cards", cards, "--overwrite").code == 0
    assert "profile of 5 texts" in run("cards", "profile", "sql", "--cards", cards).out


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            '{"txt": "a"}',
            'docs.jsonl:2: expected a text, or an object with prompt, text or messages; did you mean "text"?',
        ),
        ('{"text": 3}', "docs.jsonl:2: text: expected a text"),
        ('" "', "docs.jsonl:2: is blank; delete the line"),
        ("{", "docs.jsonl:2: is not JSON"),
        ('{"messages": []}', "docs.jsonl:2: "),
    ],
    ids=["unknown key", "no text", "blank", "no JSON", "no messages"],
)
def test_a_line_that_is_no_document_is_refused_with_its_number(
    run: Run, cards: Path, tmp_path: Path, line: str, problem: str
) -> None:
    (tmp_path / "docs.jsonl").write_text(f'"a text"\n{line}\n')
    ended = run("cards", "profile", "sql", "--from", "docs.jsonl", "--cards", cards)
    assert (ended.code, problem in ended.err) == (3, True), ended.err
    assert not (cards.parent / "profiles").exists()


def test_documents_may_be_compressed_and_conversations(run: Run, cards: Path, tmp_path: Path) -> None:
    line = json.dumps({"messages": [{"role": "user", "content": prompts("sql")[0]}]})
    with gzip.open(tmp_path / "docs.jsonl.gz", "wt") as stream:
        stream.write(f"{line}\n{json.dumps(prompts('sql')[1])}\n")
    ended = run("cards", "profile", "sql", "--from", tmp_path / "docs.jsonl.gz", "--cards", cards, "--json")
    assert json.loads(ended.out)["prompts"] == 2


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("sqll",), 'there is no card "sqll"; did you mean "sql"?'),
        (("sql",), "sql has no profile"),
        (("sql", "--from", "a", "--import", "b"), "give one of --from, --import and --export"),
        (("sql", "--export", "out.npz"), "nothing is known of sql: it has no examples, no profile and no outcomes"),
    ],
    ids=["no card", "no profile", "two sources", "nothing to export"],
)
def test_what_cannot_be_done_is_said(run: Run, cards: Path, arguments: tuple[str, ...], problem: str) -> None:
    ended = run("cards", "profile", *arguments, "--cards", cards)
    assert (ended.code, problem in ended.err) == (2, True), ended.err


def test_a_damaged_profile_is_named_at_the_start(run: Run, cards: Path) -> None:
    (cards.parent / "profiles").mkdir()
    (cards.parent / "profiles" / "sql.npz").write_bytes(b"damaged")
    ended = run("cards", "similar", "--cards", cards)
    assert (ended.code, "sql.npz: is no profile of a card" in ended.err) == (3, True)


def test_cards_for_nearly_the_same_prompts_are_named(run: Run, cards: Path) -> None:
    assert "no two of 11 cards" in run("cards", "similar", "--cards", cards).out
    text = (cards / "haiku.yaml").read_text()
    (cards / "poems.yaml").write_text(text.replace("id: haiku", "id: poems").replace("model: haiku", "model: poems"))
    assert "nearly the same: haiku and poems (cosine 1.000)" in run("cards", "similar", "--cards", cards).out
    lint = {each["card"]: each["hints"] for each in json.loads(run("cards", "lint", cards, "--json").out)}
    assert lint["haiku"] == ["for nearly the same prompts as poems (1.000)"]


def test_the_cards_for_a_prompt_are_listed(run: Run, cards: Path) -> None:
    shown = json.loads(run("cards", "similar", prompts("haiku")[8], "--most", "2", "--cards", cards, "--json").out)
    assert [shown[0]["card"], len(shown)] == ["haiku", 2]
    assert "haiku" in run("cards", "similar", prompts("haiku")[8], "--cards", cards).out
