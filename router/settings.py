"""The only reader of environment variables: API keys, default files and folders, debugging, tracing.

Variables are read when a function is called, never at import.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from router.errors import ConfigurationError

_PACKAGE = Path(__file__).resolve().parent
_SHIPPED = _PACKAGE / "shipped"

STATIC_ENCODER = "static"
"""The name of the encoder that is part of the package."""

# The gateway's default address.
DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8686


def variable(name: str) -> str | None:
    """The value of the environment variable `name` without surrounding blanks; None where it is unset or blank."""
    # An API key that was pasted with a line break would otherwise break the header that carries it.
    return _of_the_file().get(name) or os.environ.get(name, "").strip() or None


def _of_the_file() -> Mapping[str, str]:
    """The variables in the file that PULVINAR_ENV_FILE names, which is read again when it changes.

    They take precedence over the process's own, which a service manager may have read from the same file earlier.
    """
    path = os.environ.get("PULVINAR_ENV_FILE", "").strip()
    if not path:
        return {}
    try:
        status = os.stat(path)  # noqa: PTH116 - every key of every call is looked up here, and this is faster
        return _read_variables(path, status.st_mtime_ns, status.st_ino)
    except (OSError, ValueError):
        # While the file is replaced, or unreadable, the variables of the process are left.
        return {}


@functools.lru_cache(maxsize=2)
def _read_variables(path: str, _changed_ns: int, _inode: int) -> Mapping[str, str]:
    """The `NAME=value` lines of a file. Quotes around a value, `export` and comments are left out."""
    variables = {}
    for line in Path(path).read_text("utf-8").splitlines():
        name, separator, value = line.strip().removeprefix("export ").partition("=")
        if separator and name.strip().isidentifier():
            text = value.strip()
            is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
            variables[name.strip()] = text[1:-1].strip() if is_quoted else text
    return variables


def proxy_of(scheme: str, host: str) -> str | None:
    """The proxy that the environment states for a scheme and a `host:port`; None for a direct connection.

    HTTP_PROXY, HTTPS_PROXY, else ALL_PROXY, in capitals or not, unless NO_PROXY has the host.
    """
    names = (f"{scheme}_proxy", "all_proxy", "no_proxy")
    stated = tuple([os.environ.get(name) for each in names for name in (each, each.upper())])
    return _proxy_of(scheme, host, stated, "REQUEST_METHOD" in os.environ)


@functools.lru_cache(maxsize=1024)
def _proxy_of(scheme: str, host: str, _stated: tuple[str | None, ...], _is_cgi: bool) -> str | None:
    """`proxy_of` while these variables are the same. All of them are read, which would take too long for every call."""
    # Imported here, with http.client and ssl, where a connection is made.
    import urllib.request

    proxies = urllib.request.getproxies_environment()
    proxy = proxies.get(scheme) or proxies.get("all")
    # typeshed lacks the second function.
    if not proxy or urllib.request.proxy_bypass_environment(host, proxies):  # type: ignore[attr-defined]
        return None
    return proxy


def default_cards_folder() -> Path:
    """PULVINAR_CARDS, else `./model_cards`, else the package's cards."""
    return _folder("PULVINAR_CARDS", "model_cards")


def default_policies_folder() -> Path:
    """PULVINAR_POLICIES, else `./policies`, else the package's policies."""
    return _folder("PULVINAR_POLICIES", "policies")


def default_plans_folder() -> Path:
    """PULVINAR_PLANS, else `./plans`, else the package's plans."""
    return _folder("PULVINAR_PLANS", "plans")


def default_artifact_folder() -> Path:
    """PULVINAR_ARTIFACT, else the package's predictor."""
    override = variable("PULVINAR_ARTIFACT")
    return Path(override).expanduser() if override else shipped_artifact_folder()


def shipped_artifact_folder() -> Path:
    """The package's predictor."""
    return _SHIPPED / "predictor"


def default_encoder_folder() -> Path:
    """The folder of the package's encoder."""
    return _SHIPPED / "encoder"


def shipped_cards_folder() -> Path:
    """The folder of the package's cards."""
    return _shipped_folder("model_cards")


def shipped_policies_folder() -> Path:
    """The folder of the package's policies."""
    return _shipped_folder("policies")


def shipped_plans_folder() -> Path:
    """The folder of the package's plans."""
    return _shipped_folder("plans")


def shipped_deploy_folder() -> Path:
    """The folder of the package's deployment files: unit, compose file, Dockerfile, chart."""
    return _shipped_folder("deploy")


def default_evidence_folder() -> Path:
    """The folder of probe outcomes.

    PULVINAR_EVIDENCE, else `./evidence` where it or `./model_cards` exists, else the user's data folder.
    """
    override = variable("PULVINAR_EVIDENCE")
    if override:
        return Path(override).expanduser()
    local = Path.cwd() / "evidence"
    if local.is_dir() or (Path.cwd() / "model_cards").is_dir():
        return local
    return _data_folder() / "evidence"


def profiles_folder(cards: Path) -> Path:
    """The folder of the profiles of the cards in the folder `cards`.

    PULVINAR_PROFILES, else `profiles` beside that folder. Beside the package's cards none can be kept: for these it is
    `./profiles` where it exists, else that in the user's data folder.
    """
    override = variable("PULVINAR_PROFILES")
    if override:
        return Path(override).expanduser()
    if cards != shipped_cards_folder():
        return cards.absolute().parent / "profiles"
    local = Path.cwd() / "profiles"
    return local if local.is_dir() else _data_folder() / "profiles"


def _data_folder() -> Path:
    base = variable("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "pulvinar"


def default_store() -> str:
    """The folder or URL of records, budgets and conversations: PULVINAR_STORE, else the user's state folder."""
    base = variable("XDG_STATE_HOME")
    return variable("PULVINAR_STORE") or f"{base or Path.home() / '.local' / 'state'}/pulvinar"


def default_state() -> str | None:
    """The URL of the Redis or Valkey server that several gateways share: PULVINAR_STATE, else none."""
    return variable("PULVINAR_STATE")


def default_records() -> str | None:
    """The URL of the PostgreSQL database of records: PULVINAR_RECORDS; None where they are in the store's folder."""
    return variable("PULVINAR_RECORDS")


def default_gateway_file() -> Path:
    """PULVINAR_GATEWAY, else `./gateway.yaml`; the file may not exist."""
    return Path(variable("PULVINAR_GATEWAY") or "gateway.yaml").expanduser()


def default_keys_file() -> Path:
    """PULVINAR_KEYS, else `./keys.yaml`; the file may not exist."""
    return Path(variable("PULVINAR_KEYS") or "keys.yaml").expanduser()


def shipped_probes_folder() -> Path:
    """The folder of the package's probes."""
    return _SHIPPED / "probes"


def shipped_facts_file() -> Path:
    """The file of published facts about the models in routing data sets."""
    return _SHIPPED / "facts.yaml"


def cache_folder() -> Path:
    """The folder of results that can be recomputed: PULVINAR_CACHE, else the user's cache folder."""
    override = variable("PULVINAR_CACHE")
    base = variable("XDG_CACHE_HOME")
    if override:
        return Path(override).expanduser()
    return (Path(base) if base else Path.home() / ".cache") / "pulvinar"


def parsed_file() -> Path:
    """The file of parsed cards, plans and policies, by their content."""
    return cache_folder() / "parsed.msgpack"


def debugging() -> bool:
    """Whether an internal error shows its traceback: PULVINAR_DEBUG."""
    return variable("PULVINAR_DEBUG") is not None


def tracing() -> bool:
    """Whether OpenTelemetry's variables enable traces: an OTLP endpoint, or OTEL_TRACES_EXPORTER=otlp.

    Raises ConfigurationError for an exporter or a protocol that is not supported.
    """
    exporter = (variable("OTEL_TRACES_EXPORTER") or "").lower()
    if (variable("OTEL_SDK_DISABLED") or "").lower() == "true" or exporter == "none":
        return False
    if exporter not in ("", "otlp"):
        raise ConfigurationError(f'OTEL_TRACES_EXPORTER is "{exporter}"; only otlp and none are supported')
    endpoints = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    if exporter != "otlp" and not any(map(variable, endpoints)):
        return False
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        protocol = variable(name)
        if protocol is not None:
            if protocol != "http/protobuf":
                raise ConfigurationError(f'{name} is "{protocol}"; only http/protobuf (port 4318) is supported')
            break
    return True


def prepare_litellm() -> None:
    """Set the variables that litellm reads at import: no download, no `.env` file."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    os.environ["LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS"] = "True"
    os.environ["LITELLM_MODE"] = "PRODUCTION"


def prepare_ray() -> None:
    """Set the variables that Ray reads at import, unless they are set: no usage statistics, GPUs left visible."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")


@contextlib.contextmanager
def importing_alike() -> Iterator[None]:
    """Let processes that are started in this context find modules where this one does, such as in a checkout."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def _folder(override_name: str, name: str) -> Path:
    override = variable(override_name)
    if override:
        return Path(override).expanduser()
    local = Path.cwd() / name
    return local if local.is_dir() else _shipped_folder(name)


def _shipped_folder(name: str) -> Path:
    shipped = _SHIPPED / name
    return shipped if shipped.is_dir() else _PACKAGE.parent / name
