from __future__ import annotations

import io
import json
import re
from pathlib import Path

import jsonschema
import pytest

from router.commands import options
from router.gateway.config.keys import hash_of, load_keys
from router.gateway.config.keys_file import revoke
from tests.commands.conftest import Run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.yaml"


def added(run: Run, file: Path, name: str, *options: str) -> str:
    """The key that `route keys add` printed."""
    result = run("keys", "add", name, "--file", file, *options)
    assert result.code == 0, result.err
    return result.out.strip()


def test_a_new_key_is_printed_and_only_its_hash_is_stored(run: Run, file: Path) -> None:
    result = run("keys", "add", "ci", "--file", file)
    key = result.out.strip()
    assert re.fullmatch(r"pv-[A-Za-z0-9_-]{43}", key)
    assert key not in result.err
    assert key not in file.read_text()
    stored = load_keys(file).find(key)
    assert stored is not None
    assert stored.id == "ci"


def test_a_key_is_added_with_all_options(run: Run, file: Path) -> None:
    options = [
        "--card",
        "llama-*",
        "--card",
        "gpt-4o",
        "--policy",
        "best",
        "--policy",
        "cheap",
        "--default-policy",
        "cheap",
    ]
    limits = [
        "--rpm",
        "60",
        "--concurrency",
        "8",
        "--budget",
        "2.5$",
        "--expires",
        "2099-01",
        "--description",
        "no: [really] # yes",
    ]
    added(run, file, "alice@example.com", *options, *limits)
    (key,) = load_keys(file)
    assert key.cards == ("llama-*", "gpt-4o")
    assert (key.policies, key.policy) == (("best", "cheap"), "cheap")
    assert (key.rpm, key.concurrency, key.budget_usd_per_day) == (60, 8, 2.5)
    assert str(key.expires) == "2099-01-01"
    assert key.description == "no: [really] # yes"
    assert key.created is not None


@pytest.mark.parametrize(
    ("options", "reach"),
    [
        ([], "reaches every policy and every card by name; extras (`allow`): background"),
        (["--policy", "default"], "reaches the policies default and no card by name"),
        (["--card", "gpt-4o", "--allow", "mcp"], "every policy and the cards gpt-4o by name; extras (`allow`): mcp."),
        (["--budget", "2$"], "extras (`allow`): none"),
    ],
)
def test_adding_a_key_says_what_it_reaches(run: Run, file: Path, options: list[str], reach: str) -> None:
    assert reach in run("keys", "add", "ci", "--file", file, *options).err


def test_a_key_that_has_expired_already_reaches_nothing(run: Run, file: Path) -> None:
    shown = run("keys", "add", "ci", "--file", file, "--expires", "2020-01-01").err
    assert "It expired on 2020-01-01, so requests with it are refused." in shown
    assert "reaches" not in shown


def test_adding_a_key_keeps_the_existing_text(run: Run, file: Path) -> None:
    before = f"""# ours
keys:

    # the first one
    - {{id: first, hash: {hash_of("1")}}}   # flow style
    -   id: second
        # two lines on
        hash: {hash_of("2")}
# the end, without a line break"""
    file.write_text(before)
    third = added(run, file, "third")
    assert file.read_text().startswith(before + "\n    - id: third\n      hash: sha256:")
    assert [key.id for key in load_keys(file)] == ["first", "second", "third"]
    assert load_keys(file).find(third) is not None


def test_a_note_with_a_line_separator_is_one_line(run: Run, file: Path) -> None:
    before = f"""# pasted\u2028from: a page\u2029and\x85another
keys:
      - id: first
        hash: {hash_of("1")}
"""
    file.write_text(before, encoding="utf-8")
    added(run, file, "second")
    assert file.read_text("utf-8").startswith(before + "      - id: second\n        hash: sha256:")
    assert run("keys", "revoke", "first", "--file", file).code == 0
    assert file.read_text("utf-8").startswith(before + "        revoked: ")


@pytest.mark.parametrize("before", ["", "# a note\n", "keys:\n", "# a note\nkeys:   # none yet\n"])
def test_adding_a_key_to_a_file_without_keys_starts_the_list(run: Run, file: Path, before: str) -> None:
    file.write_text(before)
    added(run, file, "ci")
    assert file.read_text().startswith(before)
    assert [key.id for key in load_keys(file)] == ["ci"]


@pytest.mark.parametrize("before", ["keys: []\n", f"keys: [{{id: a, hash: '{hash_of('a')}'}}]\n"])
def test_a_file_that_cannot_be_appended_to_is_unchanged_and_the_entry_is_shown(
    run: Run, file: Path, before: str
) -> None:
    file.write_text(before)
    result = run("keys", "add", "ci", "--file", file)
    assert result.code == 2
    problem = "cannot append to a list that is written in brackets, only to one of lines with a dash"
    assert f": {problem}; add this entry by hand:\n" in result.err
    assert "- id: ci\n" in result.err
    assert file.read_text() == before


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["ci", "--card", "gpt-4oo"], 'cards: there is no card "gpt-4oo"; did you mean "gpt-4o"?'),
        (["ci", "--policy", "bst"], 'policies: the key does not allow "default"; name one of the allowed ones'),
        (["ci", "--default-policy", "bst"], 'policy: there is no policy "bst"; did you mean "best"?'),
        (["ci", "--rpm", "0"], "rpm: expected `int` >= 1"),
        (["ci", "--budget", "much"], "budget_usd_per_day: expected an amount in US dollars such as 0.15$"),
        (["ci", "--expires", "soon"], "expires: expected a date such as 2025-03"),
        (["a b"], "id: expected `str` matching regex"),
    ],
)
def test_an_invalid_option_is_an_error_and_creates_no_file(
    run: Run, file: Path, options: list[str], problem: str
) -> None:
    result = run("keys", "add", *options, "--file", file)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"route: {problem}")
    assert not file.exists()


def test_an_id_must_be_unique(run: Run, file: Path) -> None:
    added(run, file, "ci")
    result = run("keys", "add", "ci", "--file", file)
    assert (result.code, result.err) == (2, "route: id: another key has this id\n")


def test_an_invalid_file_is_reported_and_not_changed(run: Run, file: Path) -> None:
    file.write_text("keys:\n- id: ci\n")
    result = run("keys", "add", "other", "--file", file)
    assert result.code == 3
    assert result.err.startswith(f"route: {file}:2: ")
    assert file.read_text() == "keys:\n- id: ci\n"


def test_revoking_a_key_adds_one_line(run: Run, file: Path) -> None:
    key = added(run, file, "ci")
    added(run, file, "other")
    before = file.read_text().replace("  - id: other", "  # a note\n  - id: other")
    file.write_text(before)
    file.chmod(0o640)
    assert run("keys", "revoke", "ci", "--file", file).code == 0
    lines = file.read_text().splitlines(keepends=True)
    new = [line for line in lines if line.startswith("    revoked: ")]
    assert len(new) == 1
    assert "".join(line for line in lines if line not in new) == before
    assert file.stat().st_mode & 0o777 == 0o640
    stored = load_keys(file).find(key)
    assert stored is not None
    assert stored.revoked is not None
    assert [path.name for path in file.parent.iterdir()] == ["keys.yaml"]


def test_revoking_follows_a_link_and_supports_other_yaml_styles(run: Run, tmp_path: Path) -> None:
    real, link = tmp_path / "real.yaml", tmp_path / "keys.yaml"
    real.write_text(f"keys:\n- hash: {hash_of('1')}\n  id: first\n- id: second\n  hash: {hash_of('2')}")
    link.symlink_to(real)
    for name in ("first", "second"):
        assert run("keys", "revoke", name, "--file", link).code == 0
    assert link.is_symlink()
    assert all(key.revoked for key in load_keys(real))


def test_a_key_that_cannot_be_revoked_is_reported(run: Run, file: Path) -> None:
    file.write_text(f"keys:\n- {{id: ci, hash: {hash_of('1')}}}\n")
    before = file.read_text()
    result = run("keys", "revoke", "c1", "--file", file)
    assert (result.code, result.err) == (2, f'route: there is no key "c1" in {file}; known: ci\n')
    result = run("keys", "revoke", "ci", "--file", file)
    assert result.code == 2
    assert result.err.startswith(f"route: {file}:2: cannot edit this YAML style; add `revoked: ")
    assert file.read_text() == before


def test_a_key_cannot_be_revoked_twice(run: Run, file: Path) -> None:
    added(run, file, "ci")
    run("keys", "revoke", "ci", "--file", file)
    result = run("keys", "revoke", "ci", "--file", file)
    assert result.code == 2
    assert result.err.startswith('route: the key "ci" was revoked on ')


def test_a_failed_write_leaves_the_file_unchanged(run: Run, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    added(run, file, "ci")
    before = file.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        revoke(file, "ci", options.today())
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["keys.yaml"]


def test_keys_are_listed_without_their_hashes(run: Run, file: Path) -> None:
    added(run, file, "ci", "--card", "llama-*", "--budget", "5$", "--rpm", "60")
    added(run, file, "old", "--expires", "2020-01-01")
    plain = run("keys", "list", "--file", file)
    assert plain.code == 0
    assert "sha256" not in plain.out
    for word in ("ci", "llama-*", "5$", "60", "old", "expired on 2020-01-01"):
        assert word in plain.out
    listed = json.loads(run("keys", "list", "--file", file, "--json").out)
    assert [key["id"] for key in listed] == ["ci", "old"]
    assert [key["closed"] for key in listed] == [None, "expired on 2020-01-01"]
    assert all("hash" not in key for key in listed)


@pytest.mark.parametrize("ending", ["", "\n"])
def test_a_key_from_standard_input_is_identified(
    run: Run, file: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    key = added(run, file, "ci")
    monkeypatch.setattr("sys.stdin", io.StringIO(key + ending))
    result = run("keys", "check", "--file", file)
    assert (result.code, result.out) == (0, 'the key "ci" is active\n')


def test_an_unknown_or_inactive_key_has_exit_code_2(run: Run, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = added(run, file, "ci")
    monkeypatch.setattr("sys.stdin", io.StringIO("pv-wrong"))
    result = run("keys", "check", "--file", file)
    assert (result.code, result.err) == (2, "route: invalid API key\n")
    run("keys", "revoke", "ci", "--file", file)
    monkeypatch.setattr("sys.stdin", io.StringIO(key))
    result = run("keys", "check", "--file", file)
    assert result.code == 2
    assert result.out.startswith('the key "ci" was revoked on ')


def test_the_schemas_are_printed(run: Run) -> None:
    for group in ("keys", "gateway"):
        jsonschema.Draft202012Validator.check_schema(json.loads(run(group, "schema").out))


def test_gateway_check_validates_the_configuration(run: Run, file: Path, tmp_path: Path) -> None:
    added(run, file, "ci")
    config = tmp_path / "gateway.yaml"
    config.write_text("aliases: {gpt-4-turbo: auto/best}\n")
    result = run("gateway", "check", "--gateway", config, "--keys", file)
    assert result.code == 0
    assert re.search(r"\d+ cards, \d+ policies, 1 aliases, 1 keys: configuration is valid", result.out)
    config.write_text("aliases: {gpt-4-turbo: auto/bst}\n")
    result = run("gateway", "check", "--gateway", config, "--keys", file)
    assert result.code == 3
    assert result.err == (f'route: {config}:1: aliases.gpt-4-turbo: there is no policy "bst"; did you mean "best"?\n')
