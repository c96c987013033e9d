from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml

from router.cards import Card, Catalog, load_catalog
from router.decide.model_name import Aliases, read_target
from router.decide.policy import Policies, Policy, load_policies
from router.errors import ConfigurationError
from router.gateway.config.gateway_yaml import GatewayConfig, json_schema, load_config

ROOT = Path(__file__).parents[3]
CATALOG = Catalog(
    [
        Card(id="gpt-4o", provider="openai", model="gpt-4o-2024-08-06", aliases=("vendor/gpt-4o",)),
        Card(id="llama-8b", provider="openai", model="llama-8b"),
    ]
)
HOSTS = ("host.docker.internal", "*.lan", "[fd00::1]")
ORIGINS = ("app://obsidian.md", "vscode-webview://*", "null")
POLICIES = Policies([Policy(id=id_, description="For tests.") for id_ in ("default", "best", "cheap")])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "gateway.yaml"


def load(file: Path, text: str) -> GatewayConfig:
    file.write_text(text)
    return load_config(file, CATALOG, POLICIES)


def rejection(file: Path, text: str) -> str:
    with pytest.raises(ConfigurationError) as error:
        load(file, text)
    return str(error.value).replace(str(file), "gateway.yaml")


@pytest.mark.parametrize("text", ["", "# only a comment\n", "{}"])
def test_an_empty_file_has_the_defaults(file: Path, text: str) -> None:
    assert load(file, text) == GatewayConfig()


def test_a_missing_file_has_the_defaults(file: Path) -> None:
    assert load_config(file, CATALOG, POLICIES) == GatewayConfig()


def test_the_defaults_are_those_in_the_docs() -> None:
    example = ROOT / "docs" / "gateway.yaml"
    shown = load_config(example, load_catalog(ROOT / "model_cards"), load_policies(ROOT / "policies"))
    assert msgspec.structs.replace(shown, aliases={}, aliases_hide_cards=False) == GatewayConfig()
    documented = yaml.safe_load(example.read_text())
    assert set(documented) == {field.encode_name for field in msgspec.structs.fields(GatewayConfig)}


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("timeouts: {connect: 800ms}", "timeouts.connect_s", 0.8),
        ("timeouts: {first_token: 1.5m}", "timeouts.first_token_s", 90),
        ("timeouts: {total: 1 h}", "timeouts.total_s", 3600),
        ("timeouts: {idle: 2min}", "timeouts.idle_s", 120),
        ("queue: {size: 0, wait: .5s}", "queue.wait_s", 0.5),
        ("max_body: 1.5MiB", "max_body_bytes", 1572864),
        ("max_body: 500kB", "max_body_bytes", 500_000),
        ("max_body: 4096", "max_body_bytes", 4096),
        ("keepalive: 15s", "keepalive_s", 15),
        ("keepalive: off", "keepalive_s", 0),
        ("keepalive: false", "keepalive_s", 0),
        ("records: {keep: 12h}", "records.keep_days", 0.5),
        ("records: {keep: 2w}", "records.keep_days", 14),
        ("cooldown: {time: 1m}", "cooldown.time_s", 60),
        ("timeouts: {send: 5s}", "timeouts.send_s", 5),
        ("shares: {key: 0.5}", "shares.key", 0.5),
        ("body_memory: 1GiB", "body_memory_bytes", 2**30),
        ("max_values: 2000", "json_limits.values", 2000),
        ("retry_budget: {share: 0.1, least: 0, window: 1m}", "retry_budget.window_s", 60),
        ("trusted_proxies: [10.0.0.0/8, '::1', unix]", "trusted_proxies", ("10.0.0.0/8", "::1", "unix")),
        ("open_metrics: true", "open_metrics", True),
        ("dashboard: false", "dashboard", False),
        ("http2: true", "http2", True),
        ("base_path: /llm/v2", "base_path", "/llm/v2"),
        ("allowed_hosts: [host.docker.internal, '*.lan', '[fd00::1]']", "allowed_hosts", HOSTS),
        ("cors: {origins: ['app://obsidian.md', 'vscode-webview://*', 'null']}", "cors.origins", ORIGINS),
        ("forward_headers: ['x-ratelimit-*', retry-after]", "forward_headers", ("x-ratelimit-*", "retry-after")),
    ],
)
def test_quantities_have_units(file: Path, text: str, field: str, value: Any) -> None:
    setting: Any = load(file, text)
    for name in field.split("."):
        setting = getattr(setting, name)
    assert setting == (pytest.approx(value) if isinstance(value, float) else value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("http2: always", "1: http2: expected `bool`, got `str`"),
        ("max_concurency: 5", '1: unknown key "max_concurency"; did you mean "max_concurrency"?'),
        ("timeouts:\n  conect: 5s", '2: timeouts: unknown key "conect"; did you mean "connect"?'),
        (
            "timeouts:\n  idle: 5s\n  connect: 5",
            "3: timeouts.connect: expected a duration such as 800ms, 30s or 10m, got 5 (no unit)",
        ),
        ("timeouts: {total: 0s}", "1: timeouts.total: expected a duration of more than 0 and at most 7d, got '0s'"),
        ("timeouts: {total: 9999d}", "1: timeouts.total: expected a duration of more than 0 and at most 7d, got "),
        ("timeouts: 5s", "1: timeouts: expected `object`, got `str`"),
        ("keepalive: often", "1: keepalive: expected a duration such as 15s, or off, got 'often'"),
        ("keepalive:", "1: keepalive: expected a duration such as 15s, or off, got nothing"),
        ("max_body: -1MiB", "1: max_body: expected a size such as 16MiB, got '-1MiB'"),
        ("max_body: 0.1", "1: max_body: expected a whole number of bytes, got 0.1"),
        ("max_body: true", "1: max_body: expected a size such as 16MiB, got true"),
        ("records: {keep: 30}", "1: records.keep: expected a time such as 30d, 2w or 1y, got 30 (no unit)"),
        ("records: {keep: 0d}", "1: records.keep: expected a time of more than 0, got '0d'"),
        ("base_path: llm/", "1: base_path: expected `str` matching regex"),
        ("base_path: /llm/", "1: base_path: expected `str` matching regex"),
        ("allowed_hosts: ['http://a']", '1: allowed_hosts: "http://a" is not a host name; write it without scheme'),
        ("cors: {origins: [chat.example.org]}", '1: cors.origins: "chat.example.org" is not an origin; write scheme'),
        ("cors: {origins: ['https://a/b']}", '1: cors.origins: "https://a/b" is not an origin; write scheme://host'),
        ("forward_headers: ['*']", "1: forward_headers.0: expected `str` matching regex"),
        ("trusted_proxies: [proxy.lan]", '1: trusted_proxies: "proxy.lan" is no address, no network such as'),
        ("trusted_proxies: [10.0.0.1/8]", '1: trusted_proxies: "10.0.0.1/8" is no address, no network such as'),
        ("shares: {key: 0}", "1: shares.key: expected `float` > 0"),
        ("shares: {card: 75}", "1: shares.card: expected `float` <= 1"),
        ("retry_budget: {least: -1}", "1: retry_budget.least: expected `int` >= 0"),
        ("retries: -1", "1: retries: expected `int` >= 0"),
        ("max_depth: 100000", "1: max_depth: expected `int` <= 500"),
        ("- a", "1: expected the gateway's settings (keys and values), got a list"),
        ("a: !!python/name:os.system x", "1: the tag !!python/name:os.system is not supported"),
    ],
)
def test_an_invalid_setting_is_reported_with_its_line_and_key(file: Path, text: str, problem: str) -> None:
    assert rejection(file, text).startswith(f"gateway.yaml:{problem}")


@pytest.mark.parametrize(
    "target", ["auto", "auto/best", "auto[cheapest]", "auto/best[cheapest,size<9B]", "llama-8b", "vendor/gpt-4o"]
)
def test_the_target_of_an_alias_may_be_any_model_name(file: Path, target: str) -> None:
    config = load(file, f"aliases: {{gpt-3.5-turbo: '{target}'}}")
    assert read_target("gpt-3.5-turbo", config.aliases) == read_target(target, {})
    assert read_target("another", config.aliases) == read_target("another", {})


def test_an_alias_may_be_a_pattern(file: Path) -> None:
    text = "aliases: {claude-opus-*: auto/best, claude-*: auto/cheap, 'gpt-*': llama-8b, gpt-5-mini: auto}"
    config = load(file, text)
    aliases = Aliases(config.aliases, frozenset({"gpt-4o"}))
    assert {
        name: aliases.get(name) for name in ("claude-opus-4-5-20251101", "claude-haiku-4-5", "gpt-5", "gpt-5-mini")
    } == {
        "claude-opus-4-5-20251101": "auto/best",
        "claude-haiku-4-5": "auto/cheap",
        "gpt-5": "llama-8b",
        "gpt-5-mini": "auto",
    }
    # A card's own name comes before patterns, and so does routing.
    assert aliases.get("gpt-4o") is None
    assert Aliases({"*": "llama-8b"}).get("auto/cheap") is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("claude-*: auto\n  claude-opus-*: auto/best", 'can never match, because "claude-*" before it matches all'),
        ("'*': auto\n  gpt-*: auto/best", 'can never match, because "*" before it matches all of its names'),
        ("a*c*: auto\n  abc*d: auto/best", 'can never match, because "a*c*" before it'),
        ("claude-*: auto/bst\n  x: auto", 'there is no policy "bst"; did you mean "best"?'),
    ],
)
def test_a_pattern_that_can_never_match_is_rejected(file: Path, text: str, problem: str) -> None:
    assert problem in rejection(file, f"aliases:\n  {text}\n")


def test_a_pattern_after_a_narrower_one_is_no_problem(file: Path) -> None:
    assert load(file, "aliases:\n  claude-opus-*: auto/best\n  claude-*: auto\n  '*': auto/cheap\n").aliases


@pytest.mark.parametrize(
    ("alias", "problem"),
    [
        ("mine: auto/bst", 'there is no policy "bst"; did you mean "best"?'),
        ("mine: auto/xyz", 'there is no policy "xyz"; known: best, cheap, default'),
        ("mine: 'auto[chepest]'", 'the flags of "auto[chepest]": unknown flag "chepest"; did you mean "cheapest"?'),
        ("mine: 'auto/best[cheapest'", '"auto/best[cheapest" is not valid; write auto, auto/<policy> or auto/'),
        ("mine: llama-8", '"llama-8" is neither auto nor a card; did you mean "llama-8b"?'),
        ("mine: auto-best", '"auto-best" is neither auto nor a card; did you mean "auto/best"?'),
        ("mine: mine", '"mine" is itself an alias; write its target instead'),
        ("auto/mine: gpt-4o", 'names that begin with "auto" are reserved'),
        ("gpt-4o: auto", 'the card "gpt-4o" also has this name; rename one, or set `aliases_hide_cards: true`'),
        ("vendor/gpt-4o: auto", 'the card "gpt-4o" also has this name, as one of its aliases; rename one, or set '),
    ],
)
def test_an_alias_with_an_invalid_target_is_rejected(file: Path, alias: str, problem: str) -> None:
    name = alias.split(":", maxsplit=1)[0]
    assert rejection(file, f"aliases:\n  {alias}").startswith(f"gateway.yaml:2: aliases.{name}: {problem}")


def test_every_invalid_alias_is_listed(file: Path) -> None:
    lines = rejection(file, "aliases:\n  a: x1\n  b: auto\n  c: x2\n").splitlines()
    assert [line.split(": ", maxsplit=2)[:2] for line in lines] == [
        ["gateway.yaml:2", "aliases.a"],
        ["gateway.yaml:4", "aliases.c"],
    ]


def test_an_alias_may_hide_a_card_if_configured(file: Path) -> None:
    config = load(file, "aliases_hide_cards: true\naliases: {gpt-4o: auto/best}\n")
    assert read_target("gpt-4o", config.aliases).policy == "best"


def test_an_alias_may_have_the_upstream_name_of_a_model(file: Path) -> None:
    config = load(file, "aliases: {gpt-4o-2024-08-06: auto/best}")
    assert read_target("gpt-4o-2024-08-06", config.aliases).policy == "best"


def test_the_schema_accepts_the_example_of_the_docs_and_rejects_mistakes() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    example = yaml.safe_load((ROOT / "docs" / "gateway.yaml").read_text())
    assert not list(validator.iter_errors(example))
    for mistake in ({"retrys": 1}, {"timeouts": {"connect": 5}}, {"max_depth": 100_000}, {"keepalive": "often"}):
        assert list(validator.iter_errors(mistake)), mistake
