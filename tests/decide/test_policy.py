from __future__ import annotations

from pathlib import Path

import pytest

from router.cards import Catalog
from router.decide.flags import parse_flags
from router.decide.guard import GuardRule
from router.decide.policy import Policies, load_policies
from router.errors import ConfigurationError, UnknownModelError
from tests.decide.cards import card

SHIPPED = Path(__file__).parents[2] / "policies"


def write(folder: Path, name: str, *lines: str) -> Path:
    file = folder / f"{name}.yaml"
    file.write_text("\n".join((f"id: {name}", "description: d", *lines)) + "\n", encoding="utf-8")
    return file


def error_of(folder: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_policies(folder)
    return str(caught.value)


def test_the_shipped_policies_load_and_are_named_after_their_files() -> None:
    policies = load_policies(SHIPPED)
    assert policies.ids == tuple(sorted(file.stem for file in SHIPPED.glob("*.yaml")))
    assert {"best", "cheap", "default", "private"} <= set(policies)


def test_the_private_policy_excludes_third_parties_and_clients_cannot_override_it() -> None:
    policy = load_policies(SHIPPED)["private"]
    together = policy.flags.overridden_by(parse_flags("privacy=public"))
    assert parse_flags("privacy!=public").limits[0] in together.limits


def test_limits_and_goals_are_read_as_flags(tmp_path: Path) -> None:
    write(tmp_path, "p", "limits: [size<7B, '!beta']", "goals: {cheapest: 0.5, smallest: 1}")
    assert load_policies(tmp_path)["p"].flags == parse_flags("size<7B,!beta,cheapest*0.5,smallest*1")


def test_a_policy_rejects_unknown_facts_and_has_three_fallbacks_by_default(tmp_path: Path) -> None:
    write(tmp_path, "p")
    policy = load_policies(tmp_path)["p"]
    assert (policy.unknown, policy.on_empty, policy.fallbacks, policy.prompt_flags) == (
        "reject",
        "error",
        3,
        False,
    )
    assert policy.overrides == ("limits", "goals")


def test_a_policy_has_no_guard_by_default(tmp_path: Path) -> None:
    write(tmp_path, "p")
    assert load_policies(tmp_path)["p"].guard_rule is None


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("guard: off", None),
        ("guard: on", GuardRule()),
        ("guard: {}", GuardRule()),
        ("guard: {confidence: 0.95}", GuardRule(confidence=0.95)),
        ("guard: {novelty: 1}", GuardRule(novelty=1.0)),
    ],
)
def test_a_guard_is_on_off_or_states_its_thresholds(tmp_path: Path, line: str, rule: GuardRule | None) -> None:
    write(tmp_path, "p", line)
    assert load_policies(tmp_path)["p"].guard_rule == rule


def test_a_default_card_that_is_not_in_the_catalogue_is_reported_with_the_most_similar_id(tmp_path: Path) -> None:
    file = write(tmp_path, "p", "guard: on", "default: gpt-5-mni")
    with pytest.raises(ConfigurationError) as caught:
        load_policies(tmp_path, Catalog([card("gpt-5-mini"), card("qwen")]))
    assert str(caught.value) == f'{file}:4: default: there is no card "gpt-5-mni"; did you mean "gpt-5-mini"?'


def test_a_default_card_may_be_given_by_an_alias(tmp_path: Path) -> None:
    write(tmp_path, "p", "guard: on", "default: mini")
    assert load_policies(tmp_path, Catalog([card("gpt-5-mini", aliases=["mini"])]))["p"].default == "mini"


def test_without_a_catalogue_a_default_card_is_not_checked(tmp_path: Path) -> None:
    write(tmp_path, "p", "guard: on", "default: gpt-5-mni")
    assert load_policies(tmp_path)["p"].default == "gpt-5-mni"


def test_policies_are_a_mapping_in_the_order_of_their_ids(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        write(tmp_path, name)
    policies = load_policies(tmp_path)
    assert (list(policies), len(policies), policies["b"].id) == (["a", "b", "c"], 3, "b")


def test_an_unknown_policy_is_reported_with_the_most_similar_id(tmp_path: Path) -> None:
    write(tmp_path, "cheap")
    with pytest.raises(UnknownModelError, match='no policy "cheep"; did you mean "cheap"'):
        load_policies(tmp_path).named("cheep")


def test_where_no_policy_is_similar_all_are_listed() -> None:
    with pytest.raises(UnknownModelError, match="known: best, cheap"):
        load_policies(SHIPPED).named("zzz")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("golas: {}", ':3: unknown key "golas"; did you mean "goals"?'),
        ("goals: {cheepest: 1}", ':3: goals.cheepest: unknown goal "cheepest"; did you mean "cheapest"?'),
        ("goals:\n  best: 1\n  cheepest: 1", ':5: goals.cheepest: unknown goal "cheepest"; did you mean "cheapest"?'),
        ("goals: {cheapest: -1}", ":3: goals.cheapest: "),
        ("goals: {cheapest: 1e999}", ":3: goals.cheapest: "),
        ("goals: {cheapest: much}", ":3: goals.cheapest: "),
        ("limits: [siez<7B]", ':3: limits.0: unknown flag "siez"; did you mean "size"?'),
        ("limits: ['size<7B,size>70B']", "no card can meet both size<7B and size>70B"),
        ("limits: [size<7B, size>70B]", "no card can meet both size<7B and size>70B"),
        ("limits: [cheapest]", ":3: limits.0: cheapest is a goal; move it to `goals`"),
        (
            "limits:\n  - size<10B\n  - size<10",
            ":5: limits.1: size: expected a size such as 7B or 350M, got '10' (no unit)",
        ),
        ("limits:\n  - size<10B\n  - size>20B", ":5: limits.1: no card can meet both size<10B and size>20B"),
        ("limits:\n  - size<10B\n  - cheapest", ":5: limits.1: cheapest is a goal; move it to `goals`"),
        ("goals:\n  cheapest: 1\n  smallest: -1", ":5: goals.smallest: expected `float` >= 0.0"),
        ("unknown: alow", ':3: unknown: unknown value "alow"; did you mean "allow"?'),
        ("overrides: [limit]", ':3: overrides.0: unknown value "limit"; did you mean "limits"?'),
        ("on_empty: relax", ":3: on_empty: `on_empty: relax` and the list `relax` require each other"),
        ("relax: [size]", ":1: on_empty: `on_empty: relax` and the list `relax` require each other"),
        ("fallbacks: 21", ":3: fallbacks: "),
        ("fallbacks: -1", ":3: fallbacks: "),
        ("fallbacks: two", ":3: fallbacks: "),
        ("prompt_flags: yes", ":3: prompt_flags: "),
        ("guard: of", ':3: guard: unknown value "of"; did you mean "off"?'),
        ("guard: maybe", ':3: guard: unknown value "maybe"; known: on, off, or {confidence: 0.6, novelty: 0.99}'),
        ("guard: {confidense: 0.8}", ':3: guard: unknown key "confidense"; did you mean "confidence"?'),
        (
            "guard:\n  confidence: 0.8\n  novelity: 1",
            ':5: guard: unknown key "novelity"; did you mean "novelty"?',
        ),
        ("guard: {confidence: 80}", ":3: guard.confidence: "),
        ("guard: {confidence: 1.01}", ":3: guard.confidence: "),
        ("guard: {confidence: 0.4}", ":3: guard.confidence: "),
        ("guard: {novelty: 1.1}", ":3: guard.novelty: "),
        ("guard: 0.8", ":3: guard: "),
        ("guard: true", ":3: guard: expected on, off, or {confidence: 0.6, novelty: 0.99}"),
        ("explore: on", ':3: explore: unknown value "on"; known: off, or {share: 0.02, dollars_per_day: 2}'),
        ("explore: true", ":3: explore: expected off, or {share: 0.02, dollars_per_day: 2}"),
        ("explore: {share: true}", ":3: explore.share: expected `float`, got `bool`"),
        ("default: ''", ":3: default: "),
        ("defualt: x", ':3: unknown key "defualt"; did you mean "default"?'),
        ("graders: [{kind: regex, pattern: '('}]", ":3: graders.0.pattern: is no regular expression: missing )"),
        ("id: q", ':3: duplicate key "id" (first on line 1)'),
    ],
)
def test_an_invalid_policy_is_reported_with_its_file_and_problem(tmp_path: Path, line: str, problem: str) -> None:
    file = write(tmp_path, "p", line)
    assert error_of(tmp_path).startswith(str(file))
    assert problem in error_of(tmp_path)


def test_an_unknown_field_to_relax_is_reported_with_the_most_similar_one(tmp_path: Path) -> None:
    write(tmp_path, "p", "on_empty: relax", "relax: [siez]")
    assert ':4: relax.0: unknown field "siez"; did you mean "size"?' in error_of(tmp_path)


def test_a_policy_whose_id_differs_from_the_file_name_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("description: d\nid: q\n", encoding="utf-8")
    assert error_of(tmp_path) == f'{tmp_path / "p.yaml"}:2: id: "q" differs from the file name'


def test_a_file_without_a_policy_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("- a\n", encoding="utf-8")
    assert error_of(tmp_path).endswith("p.yaml:1: expected a policy (keys and values), got a list")


def test_several_invalid_policies_are_reported_together(tmp_path: Path) -> None:
    write(tmp_path, "a", "x: 1")
    write(tmp_path, "b")
    write(tmp_path, "c", "y: 1")
    first, second = error_of(tmp_path).splitlines()
    assert (first.split(":")[0], second.split(":")[0]) == (str(tmp_path / "a.yaml"), str(tmp_path / "c.yaml"))


def test_an_empty_and_a_missing_folder_have_different_errors(tmp_path: Path) -> None:
    assert "contains no policies" in error_of(tmp_path)
    assert "does not exist" in error_of(tmp_path / "nowhere")


def test_a_file_instead_of_the_policy_folder_is_reported(tmp_path: Path) -> None:
    assert "is a file; give the folder that contains it" in error_of(write(tmp_path, "p"))


def test_policies_can_be_built_without_files() -> None:
    assert Policies([]).ids == ()


def test_what_a_policy_believes_of_a_card_replaces_what_the_card_states(tmp_path: Path) -> None:
    write(tmp_path, "ours", "beliefs: {b: {tier: strong, stronger_than: [a]}}")
    catalog = Catalog([card("a"), card("b", tier="small"), card("c", tier="small")])
    believed = catalog.with_beliefs(load_policies(tmp_path, catalog).named("ours").beliefs)
    assert [(each.id, each.tier, each.stronger_than) for each in believed] == [
        ("a", None, ()),
        ("b", "strong", ("a",)),
        ("c", "small", ()),
    ]
    assert catalog.with_beliefs({}) is catalog


def test_a_belief_about_an_effort_is_one_about_that_candidate_only(tmp_path: Path) -> None:
    write(tmp_path, "ours", "beliefs: {a@high: {tier: frontier}}")
    catalog = Catalog([card("a", efforts={"low": {}, "high": {}})])
    believed = catalog.with_beliefs(load_policies(tmp_path, catalog).named("ours").beliefs)
    assert [(each.id, each.tier) for each in believed] == [("a", None), ("a@high", "frontier"), ("a@low", None)]


@pytest.mark.parametrize(
    ("beliefs", "problem"),
    [
        ("{bb: {tier: strong}}", 'ours.yaml:3: beliefs: there is no card "bb"; did you mean "b"?'),
        ("{b: {stronger_than: [x]}}", 'ours.yaml:3: beliefs: b: stronger_than: there is no card "x"'),
        ("{b: {stronger_than: [a]}}", "ours.yaml:3: beliefs: a: stronger_than: contradicts itself: a > b > a"),
        ("{b: {tier: best}}", 'ours.yaml:3: beliefs.b.tier: unknown value "best"'),
        ("{b: {level: strong}}", 'ours.yaml:3: beliefs.b: unknown key "level"'),
    ],
)
def test_a_mistake_in_beliefs_is_reported_with_file_line_and_key(tmp_path: Path, beliefs: str, problem: str) -> None:
    write(tmp_path, "ours", f"beliefs: {beliefs}")
    with pytest.raises(ConfigurationError) as caught:
        load_policies(tmp_path, Catalog([card("a", stronger_than=["b"]), card("b")]))
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("judge", "problem"),
    [
        ("{kind: judge, card: bigg}", 'there is no card "bigg"; did you mean "big"?'),
        ("{kind: judge, card: plan/careful}", "is a plan; a single card judges"),
        ("{kind: judge, card: idle}", "is never called: its card states dispatchable: false"),
        ("{kind: judge, card: small}", "does not meet the policy's limits (size>8B)"),
        ("{kind: judge, card: big, share: 2}", "share: expected `float` <= 1.0"),
    ],
)
def test_a_judge_is_a_card_that_may_read_what_the_policy_lets_be_sent(tmp_path: Path, judge: str, problem: str) -> None:
    cards = Catalog([card("big", size="70B"), card("small", size="7B"), card("idle", dispatchable=False)])
    write(tmp_path, "p", "limits: [size>8B]", "graders:", "  - {kind: regex, pattern: x}", f"  - {judge}")
    with pytest.raises(ConfigurationError) as caught:
        load_policies(tmp_path, cards)
    assert problem in str(caught.value)
    assert "p.yaml:6" in str(caught.value)


def test_a_judge_is_read_with_its_share_and_budget(tmp_path: Path) -> None:
    write(tmp_path, "p", "graders: [{kind: judge, card: big, share: 0.1, dollars_per_day: 2.5}]")
    (judge,) = load_policies(tmp_path, Catalog([card("big")]))["p"].judges
    assert (judge.card, judge.share, judge.dollars_per_day) == ("big", 0.1, 2.5)
