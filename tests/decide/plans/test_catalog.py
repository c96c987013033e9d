"""Plan files: what is read, and what is refused with file, line, key and the likely intention."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import yaml

from router.cards import Catalog, load_catalog
from router.decide.plans.catalog import Plans, json_schema, load_plans
from router.decide.plans.shape import capped_calls
from router.decide.policy import load_policies
from router.errors import ConfigurationError, UnknownModelError
from tests.decide.cards import card

ROOT = Path(__file__).parents[3]
CATALOG = Catalog([card("cheap"), card("strong"), card("seer", modalities=["text", "image"])])


def write(folder: Path, name: str, *lines: str) -> Path:
    file = folder / f"{name}.yaml"
    file.write_text("\n".join((f"id: {name}", "description: d", *lines)) + "\n", encoding="utf-8")
    return file


def error_of(folder: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_plans(folder, CATALOG)
    return str(caught.value)


def test_the_shipped_plans_load_with_the_shipped_cards_and_match_the_schema() -> None:
    plans = load_plans(ROOT / "plans", load_catalog(ROOT / "model_cards"))
    assert plans.ids == tuple(sorted(file.stem for file in (ROOT / "plans").glob("*.yaml")))
    schema = json_schema()
    for file in (ROOT / "plans").glob("*.yaml"):
        jsonschema.validate(yaml.safe_load(file.read_text()), schema)


def test_no_shipped_policy_uses_a_plan() -> None:
    assert not any(policy.plans for policy in load_policies(ROOT / "policies").values())


def test_the_shipped_plans_name_no_card_so_they_suit_every_catalogue() -> None:
    assert load_plans(ROOT / "plans", CATALOG)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["members: [cheap, strong]"], '1: the key "kind" is missing: one of cascade'),
        (["kind: cascde", "members: [cheap, strong]"], '3: kind: unknown kind "cascde"; did you mean "cascade"?'),
        (["kind: cascade", "members: [cheap, strong]", "gates: prior"], '5: unknown key "gates"; did you mean "gate"?'),
        (["kind: cascade", "members: [cheap, strong]", "agree: 2"], '5: unknown key "agree"'),
        (
            ["kind: cascade", "members: [cheap, strng]"],
            '4: members.1: there is no card "strng"; did you mean "strong"?',
        ),
        (["kind: cascade", "members: [cheap]"], "4: members: 1 member is no cascade; name at least two cards"),
        (["kind: cascade", "members: [cheap, cheap]"], '4: members.1: the card "cheap" is named twice; a plan of kind'),
        (
            ["kind: committee", "members: [cheap, plan/other]"],
            '4: members.1: "plan/other": a plan cannot be a member of a plan; name cards',
        ),
        (["kind: committee", "members: [cheap, auto]"], '4: members.1: "auto": a plan cannot be a member of a plan'),
        (["kind: committee", "members: [cheap, p]"], '4: members.1: there is no card "p"; it is a plan: a plan cannot'),
        (["kind: committee", "members: [cheap, strong]", "agree: 3"], "5: agree: 3 equal answers cannot come from 2"),
        (
            ["kind: committee", "members: [cheap, {best: 1, limits: [cheapest]}]"],
            "4: members.1.limits: cheapest is a goal; a member has limits only",
        ),
        (
            ["kind: committee", "members: [cheap, {best: 1, limits: [sise<7B]}]"],
            '4: members.1.limits: unknown flag "si',
        ),
        (["kind: committee", "members: [cheap, {best: 1, limits: [calls<2]}]"], "calls<2 is a limit on plans"),
        (["kind: cascade", "members: [{best: 5}, cheap]"], "4: members: 6 members are more than 5"),
        (
            ["kind: panel", "members: [cheap, strong]", "writer: strong", "quorum: 3"],
            "6: quorum: 3 answers cannot come",
        ),
        (["kind: cascade", "members: [cheap, strong]", "gate: 0.5"], "5: gate: expected learned, prior, or {thr"),
        (["kind: [cascade]", "members: [cheap, strong]"], '3: kind: expected one word; did you mean "cascade"?'),
        (["kind: {a: b}", "members: [cheap, strong]"], "3: kind: expected one word; known: cascade, committee"),
        (["kind: 1", "members: [cheap, strong]"], "3: kind: expected one word; known: cascade, committee"),
        (["kind: reroute", "members: [cheap, strong]", "handovers: 2"], "5: handovers: 2 handovers need 3 members, no"),
        (["kind: reroute", "members: [cheap, strong]", "handovers: 3"], "5: handovers"),
        (["kind: reroute", "members: [cheap, strong]", "margn: 0.1"], '5: unknown key "margn"; did you mean "margin"?'),
        (["kind: panel", "members: [cheap, strong]", "writer: {best: 2}"], "5: writer.best: one card writes"),
        (["kind: samples", "member: cheap", "caps: {calls: 3}"], "5: caps.calls: the plan may make 5 calls, more than"),
        (["kind: samples", "member: {best: 2}"], "4: member.best: a plan of kind samples asks one card"),
        (
            ["kind: best_of", "members: [cheap, strong]", "validators: {regex: '('}"],
            "5: validators.regex: is no regular expression",
        ),
        (
            ["kind: best_of", "members: [cheap, strong]", r"validators: {regex: '\p{Foo}'}"],
            "5: validators.regex: is no regular expression: unknown property",
        ),
        (
            ["kind: best_of", "members: [cheap, strong]", "validators: {syntax: jsn}"],
            '5: validators.syntax: unknown value "jsn"; did you mean "json"?',
        ),
        (
            [
                "kind: chain",
                "stages:",
                "  - {consumes: image, produces: text}",
                "  - {consumes: audio, produces: text}",
            ],
            '6: stages.1.consumes: the stage consumes "audio", but the stage before it produces "text"',
        ),
        (
            ["kind: chain", "stages:", "  - {consumes: text, produces: text}", "  - {consumes: text, produces: image}"],
            '6: stages.1.produces: the last stage must produce "text", not "image"',
        ),
        (
            ["kind: chain", "stages:", "  - {consumes: imge, produces: text}", "  - {consumes: text, produces: text}"],
            '5: stages.0.consumes: unknown content "imge"; did you mean "image"?',
        ),
        (
            [
                "kind: chain",
                "stages:",
                "  - {consumes: image, produces: text, card: cheap}",
                "  - {consumes: text, produces: text}",
            ],
            '5: stages.0.card: the card "cheap" does not accept image, only text',
        ),
    ],
)
def test_a_mistake_is_refused_with_its_line_its_key_and_the_likely_intention(
    tmp_path: Path, lines: list[str], expected: str
) -> None:
    file = write(tmp_path, "p", *lines)
    assert expected in error_of(tmp_path)
    assert str(file) in error_of(tmp_path)


def test_all_wrong_files_are_listed(tmp_path: Path) -> None:
    write(tmp_path, "a", "kind: samples", "member: chep")
    write(tmp_path, "b", "kind: samples", "member: strog")
    assert error_of(tmp_path).count("did you mean") == 2


def test_the_id_must_be_the_name_of_the_file(tmp_path: Path) -> None:
    write(tmp_path, "a", "kind: samples", "member: cheap").rename(tmp_path / "b.yaml")
    assert '1: id: "a" differs from the file name' in error_of(tmp_path)


def test_a_plan_that_does_not_exist_is_refused_with_a_similar_name(tmp_path: Path) -> None:
    write(tmp_path, "cheap-first", "kind: cascade", "members: [cheap, strong]")
    plans = load_plans(tmp_path, CATALOG)
    with pytest.raises(UnknownModelError, match='there is no plan "cheap-frist"; did you mean "cheap-first"'):
        plans.named("plan/cheap-frist")


def test_a_policy_that_names_an_unknown_plan_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "p", "plans: [cheap-frist]")
    plans = load_plans(ROOT / "plans")
    with pytest.raises(
        ConfigurationError, match=r'p.yaml:3: plans: there is no plan "cheap-frist"; did you mean "cheap-f'
    ):
        load_policies(tmp_path, CATALOG, plans)
    with pytest.raises(ConfigurationError, match="there are none"):
        load_policies(tmp_path, CATALOG, Plans())


@pytest.mark.parametrize(
    ("lines", "calls"),
    [
        (["kind: cascade", "members: [cheap, {best: 2}]"], 3),
        (["kind: panel", "members: [cheap, strong]", "writer: strong"], 3),
        (["kind: samples", "member: cheap", "n: 4"], 4),
        (["kind: reroute", "members: [{best: 4}]", "handovers: 2"], 3),
        (["kind: segments"], 2),
    ],
)
def test_the_greatest_number_of_calls_counts_every_member(tmp_path: Path, lines: list[str], calls: int) -> None:
    write(tmp_path, "p", *lines)
    assert capped_calls(load_plans(tmp_path, CATALOG)["p"]) == calls
