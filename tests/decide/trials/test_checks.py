"""What a policy file may say about shadows and experiments."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.cards import load_catalog
from router.decide.policy import load_policies
from router.errors import ConfigurationError

CARD = "id: small\nprovider: openai\nmodel: small\n"


def problem_of(tmp_path: Path, text: str, other: str = "") -> str:
    cards, policies = tmp_path / "cards", tmp_path / "policies"
    cards.mkdir()
    policies.mkdir()
    (cards / "small.yaml").write_text(CARD)
    (policies / "default.yaml").write_text(f"id: default\ndescription: It.\n{text}\n")
    (policies / "cheap.yaml").write_text(f"id: cheap\ndescription: It.\n{other}\n")
    with pytest.raises(ConfigurationError) as error:
        load_policies(policies, load_catalog(cards))
    return str(error.value).replace(f"{policies}/", "")


ARMS = "arms: [{policy: default}, {card: small}]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "shadow: {card: smal, dollars_per_day: 1}",
            'default.yaml:3: shadow: there is no card "smal"; did you mean "small"?',
        ),
        ("shadow: {policy: chep, dollars_per_day: 1}", 'there is no policy "chep"; did you mean "cheap"?'),
        ("shadow: {policy: default, dollars_per_day: 1}", "default.yaml:3: shadow.policy: names this policy itself"),
        ("shadow: {card: small}", 'default.yaml:3: shadow: the key "dollars_per_day" is missing'),
        (
            "shadow: {card: small, policy: cheap, dollars_per_day: 1}",
            "shadow: state one of `card`, `policy` and `plan`",
        ),
        ("shadow: {card: small, dollars_per_day: 1, shar: 1}", 'unknown key "shar"; did you mean "share"?'),
        (
            "experiment:\n  name: try\n  arms:\n    - {policy: default}\n    - {policy: chep}",
            'default.yaml:7: experiment: there is no policy "chep"; did you mean "cheap"?',
        ),
        ("experiment: {name: try, arms: [{policy: default}, {policy: default}]}", "two arms are the same"),
        ("experiment: {name: try, arms: [{policy: default}]}", "experiment.arms"),
        (f"experiment: {{name: try, {ARMS}, metric: quality}}", 'unknown value "quality"'),
    ],
)
def test_a_mistake_is_named_with_file_line_and_key(tmp_path: Path, text: str, message: str) -> None:
    assert message in problem_of(tmp_path, text)


def test_an_arm_must_have_no_experiment_of_its_own_and_names_are_used_once(tmp_path: Path) -> None:
    nested = "experiment: {name: try, arms: [{policy: default}, {policy: cheap}]}"
    problem = problem_of(tmp_path, nested, f"experiment: {{name: try, {ARMS}}}")
    assert 'default.yaml:3: experiment.arms: the policy "cheap" has an experiment of its own' in problem
    assert 'the policy "cheap" has an experiment "try", too; choose another name' in problem
