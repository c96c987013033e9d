"""`gateway.yaml`: the settings of the gateway itself. Every key is optional, and so is the file."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from router.cards.catalog import Catalog
from router.decide.flags import parse_flags
from router.decide.model_name import AUTO, DEFAULT_POLICY, WILDCARD, covers, is_auto, is_plan
from router.decide.plans.catalog import NO_PLANS, Plans
from router.decide.plans.spec import PREFIX, Caps
from router.decide.policy import Policies
from router.dispatch import Cooldown, QueueLimits, Timeouts
from router.dispatch.bounds.retry_budget import RetryLimits
from router.dispatch.bounds.share import Shares
from router.errors import ConfigurationError, FileError, FlagError, did_you_mean
from router.formats.json_schema import file_schema
from router.formats.quantities import ByteCount, Days, OptionalSeconds, Seconds, TokenCount
from router.formats.yaml.file import load
from router.gateway.config.connections import ConnectionLimits
from router.gateway.http.body import JsonLimits
from router.gateway.http.client.address import TrustedProxies
from router.gateway.http.origins import Cors, host_problem
from router.store.state.loss import SharedState

Alias = Annotated[str, Meta(min_length=1, max_length=200)]
HeaderPattern = Annotated[
    str, Meta(pattern=r"^[a-z][a-z0-9-]{2,}\*?$", max_length=100, description="A name, or its beginning and *.")
]
FetchHost = Annotated[
    str,
    Meta(
        pattern=r"^(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$",
        max_length=253,
        description="The name of a host, or *. and the domain of several.",
    ),
]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]


def _default(value: Any) -> Any:
    """`value` as the default of a field. A factory, because msgspec cannot write it into a JSON Schema."""
    return msgspec.field(default_factory=lambda: value)


class Recording(Struct, frozen=True, forbid_unknown_fields=True, rename={"keep_days": "keep"}):
    """Whether requests are recorded, whether their prompts are included, and how long records are kept."""

    enabled: bool = True
    prompts: bool = False
    keep_days: Days = _default(Days(30))


class Budgeting(
    Struct, frozen=True, forbid_unknown_fields=True, rename={"wait_s": "wait", "drain_s": "drain"}, kw_only=True
):
    """How the budgets of keys are kept.

    While what is left of a key's budget is below the worst case of its requests, they are sent one at a time: `waiting`
    of them may wait in each worker, for `wait_s` seconds. After a client has disconnected, its answer is read on for up
    to `drain_s` seconds and `drain_tokens` tokens, to the usage that the upstream reports last; 0 for not at all.
    """

    waiting: Annotated[int, Meta(ge=0, le=1_000_000)] = 128
    wait_s: Seconds = _default(Seconds(10))
    drain_s: OptionalSeconds = _default(OptionalSeconds(5))
    drain_tokens: TokenCount = _default(TokenCount(50_000))


class GatewayConfig(
    Struct,
    frozen=True,
    forbid_unknown_fields=True,
    # Names in YAML have no unit, because their values do.
    rename={"max_body_bytes": "max_body", "body_memory_bytes": "body_memory", "keepalive_s": "keepalive"},
    kw_only=True,
):
    """The settings of the gateway itself.

    `aliases` maps names that clients hard-code, or patterns with `*`, to `auto`, `auto/<policy>`, either with
    `[<flags>]`, or a card. With `aliases_hide_cards`, an alias may have the name of a card and takes precedence
    over it. `base_path` is the path under which a reverse proxy serves the gateway. `allowed_hosts` are names of
    this machine that are accepted without API keys, `trusted_proxies` whose `X-Forwarded-For` is believed, and to
    which no limit per address applies; `cors` the web pages that may send requests. `forward_headers` are patterns
    of upstreams' response headers that clients get, such as `x-ratelimit-*`. `fetch_hosts` are the hosts from which
    the gateway fetches media that clients name where the provider does not, or patterns such as `*.example.org`.
    `http2`: whether https upstreams that offer it are called by HTTP/2, where their card does not say.
    `connections`: limits before a key is known, per worker. `max_concurrency`: requests in progress, per worker, and
    `shares` the parts of keys and cards of them. `body_memory_bytes`: the memory of all bodies in a worker.
    `max_values`, `max_depth`: limits of a body's JSON. `keepalive_s`: the interval of comments in an idle stream, 0 for
    none. `retries`: retries of a broken connection on the same deployment. `retry_budget`: how often repeated calls may
    fail. `dashboard`: whether there is the page for operators. `open_metrics`: whether `/metrics` needs no API key.
    `plans` bounds what a plan may use for one request, whatever its file states. `state`: how a state that several
    gateways share is used, and what happens without it.
    """

    aliases: Mapping[Alias, Alias] = {}
    aliases_hide_cards: bool = False
    timeouts: Timeouts = _default(Timeouts())
    connections: ConnectionLimits = _default(ConnectionLimits())
    max_concurrency: Count = 512
    shares: Shares = _default(Shares())
    queue: QueueLimits = _default(QueueLimits())
    max_body_bytes: ByteCount = _default(ByteCount(16 * 2**20))
    body_memory_bytes: ByteCount = _default(ByteCount(256 * 2**20))
    max_values: Annotated[int, Meta(ge=1000, le=100_000_000)] = 500_000
    max_depth: Annotated[int, Meta(ge=8, le=500)] = 200
    keepalive_s: OptionalSeconds = _default(OptionalSeconds(0))
    records: Recording = _default(Recording())
    retries: Annotated[int, Meta(ge=0, le=10)] = 1
    retry_budget: RetryLimits = _default(RetryLimits())
    cooldown: Cooldown = _default(Cooldown())
    budgets: Budgeting = _default(Budgeting())
    plans: Caps = _default(Caps())
    state: SharedState = _default(SharedState())
    open_metrics: bool = False
    dashboard: bool = True
    base_path: Annotated[str, Meta(pattern=r"^$|^(/[A-Za-z0-9._~-]+)+$", max_length=200)] = ""
    allowed_hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    cors: Cors = _default(Cors())
    forward_headers: tuple[HeaderPattern, ...] = ()
    fetch_hosts: tuple[FetchHost, ...] = ()
    http2: bool = False

    @property
    def json_limits(self) -> JsonLimits:
        """The limits of a body's JSON."""
        return JsonLimits(self.max_values, self.max_depth)

    def __post_init__(self) -> None:
        for host in self.allowed_hosts:
            if problem := host_problem(host):
                raise ValueError(f"allowed_hosts: {problem}")
        try:
            TrustedProxies(self.trusted_proxies)
        except ValueError as error:
            raise ValueError(f"trusted_proxies: {error}") from None


def load_config(file: Path, catalog: Catalog, policies: Policies, plans: Plans = NO_PLANS) -> GatewayConfig:
    """Read `file`; missing keys, or a missing file, have the defaults.

    Raises ConfigurationError naming file, line and key; it lists every alias with an invalid target.
    """
    if not file.exists():
        return GatewayConfig()
    config, lines = load(file, GatewayConfig, "the gateway's settings (keys and values)", may_be_empty=True)
    problems = [
        str(FileError(str(file), lines.get(("aliases", name)), f"aliases.{name}: {problem}"))
        for name, target in config.aliases.items()
        if (problem := _alias_problem(name, target, config, catalog, policies, plans))
    ]
    if problems:
        raise ConfigurationError("\n".join(problems))
    return config


def json_schema() -> dict[str, Any]:
    """The JSON Schema of `gateway.yaml`, for editors."""
    return file_schema(GatewayConfig, "Pulvinar gateway.yaml")


def _alias_problem(
    name: str, target: str, config: GatewayConfig, catalog: Catalog, policies: Policies, plans: Plans
) -> str | None:
    problem = _name_problem(name, config.aliases)
    if problem is not None:
        return problem
    # Not `catalog.named`, which also finds a model by its upstream name; that name may be an alias.
    position = catalog.position(name)
    if position is not None and name in catalog[position].names and not config.aliases_hide_cards:
        card = catalog[position].id
        named = "" if card == name else ", as one of its aliases"
        return (
            f'the card "{card}" also has this name{named}; rename one, or set `aliases_hide_cards: true` '
            "to give the alias precedence"
        )
    if is_auto(target) or is_plan(target):
        return _auto_problem(target, policies) if is_auto(target) else _plan_problem(target, plans)
    if catalog.position(target) is not None:
        return None
    if target in config.aliases:
        return f'"{target}" is itself an alias; write its target instead'
    known = [*catalog.ids, "auto", *(f"auto/{policy}" for policy in policies.ids)]
    return f'"{target}" is neither auto nor a card{did_you_mean(target, known)}'


def _name_problem(name: str, aliases: Mapping[str, str]) -> str | None:
    if is_auto(name) or is_plan(name):
        return f'names that begin with "{PREFIX if is_plan(name) else "auto"}" are reserved'
    if WILDCARD in name and (earlier := _covering(name, aliases)):
        return f'can never match, because "{earlier}" before it matches all of its names; write it before that'
    return None


def _covering(name: str, aliases: Mapping[str, str]) -> str | None:
    """The pattern before `name` that matches every name which `name` matches."""
    earlier = itertools.takewhile(lambda other: other != name, aliases)
    return next((other for other in earlier if covers(other, name)), None)


def _plan_problem(target: str, plans: Plans) -> str | None:
    id_ = target.removeprefix(PREFIX).partition("[")[0]
    return None if id_ in plans else f'there is no plan "{id_}"{did_you_mean(id_, plans.ids)}'


def _auto_problem(target: str, policies: Policies) -> str | None:
    match = AUTO.fullmatch(target)
    if match is None:
        return f'"{target}" is not valid; write auto, auto/<policy> or auto/<policy>[<flags>]'
    policy = match["policy"] or DEFAULT_POLICY
    if policy not in policies:
        hint = did_you_mean(policy, policies.ids) or f"; known: {', '.join(policies.ids)}"
        return f'there is no policy "{policy}"{hint}'
    try:
        parse_flags(match["flags"] or "")
    except FlagError as error:
        return f'the flags of "{target}": {error.problem}'
    return None
