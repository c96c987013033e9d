"""The only reader of the environment: variables that hold keys, and where the folders lie.

Everything is read when asked, never at import.
"""

from __future__ import annotations

import os
from pathlib import Path

from router.errors import ConfigurationError

_PACKAGE = Path(__file__).resolve().parent
_SHIPPED = _PACKAGE / "shipped"

STATIC_ENCODER = "static"
"""The name of the encoder that came with the package."""

# Where the gateway listens by default.
DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8686


def variable(name: str) -> str | None:
    """The environment variable's value; None where it is not set or blank."""
    # A key pasted with its line break would otherwise end up in a header.
    return os.environ.get(name, "").strip() or None


def default_cards_folder() -> Path:
    """PULVINAR_CARDS, else `./model_cards`, else the cards that came with the package."""
    return _folder("PULVINAR_CARDS", "model_cards")


def default_policies_folder() -> Path:
    """PULVINAR_POLICIES, else `./policies`, else the policies that came with the package."""
    return _folder("PULVINAR_POLICIES", "policies")


def default_artifact_folder() -> Path:
    """PULVINAR_ARTIFACT, else the predictor that came with the package."""
    override = variable("PULVINAR_ARTIFACT")
    return Path(override).expanduser() if override else _SHIPPED / "predictor"


def default_encoder_folder() -> Path:
    """The encoder that came with the package."""
    return _SHIPPED / "encoder"


def shipped_cards_folder() -> Path:
    """The cards that came with the package."""
    return _shipped_folder("model_cards")


def shipped_policies_folder() -> Path:
    """The policies that came with the package."""
    return _shipped_folder("policies")


def default_evidence_folder() -> Path:
    """Where the outcomes of probes are kept: PULVINAR_EVIDENCE, else `./evidence` where it or `./model_cards` exists,
    else the user's data folder.
    """
    override = variable("PULVINAR_EVIDENCE")
    if override:
        return Path(override).expanduser()
    here = Path.cwd() / "evidence"
    if here.is_dir() or (Path.cwd() / "model_cards").is_dir():
        return here
    base = variable("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "pulvinar" / "evidence"


def default_store_folder() -> Path:
    """Where records, budgets and conversations are kept: PULVINAR_STORE, else the user's state folder."""
    override = variable("PULVINAR_STORE")
    if override:
        return Path(override).expanduser()
    base = variable("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "pulvinar"


def default_gateway_file() -> Path:
    """PULVINAR_GATEWAY, else `./gateway.yaml`; it need not exist."""
    return Path(variable("PULVINAR_GATEWAY") or "gateway.yaml").expanduser()


def default_keys_file() -> Path:
    """PULVINAR_KEYS, else `./keys.yaml`; it need not exist."""
    return Path(variable("PULVINAR_KEYS") or "keys.yaml").expanduser()


def shipped_probes_folder() -> Path:
    """The probes that came with the package."""
    return _SHIPPED / "probes"


def shipped_facts_file() -> Path:
    """What is published of the models that routing data sets measure."""
    return _SHIPPED / "facts.yaml"


def cache_folder() -> Path:
    """Where results that can be computed again are kept: PULVINAR_CACHE, else the user's cache folder."""
    override = variable("PULVINAR_CACHE")
    base = variable("XDG_CACHE_HOME")
    if override:
        return Path(override).expanduser()
    return (Path(base) if base else Path.home() / ".cache") / "pulvinar"


def debugging() -> bool:
    """PULVINAR_DEBUG: whether a fault of ours shows its traceback."""
    return variable("PULVINAR_DEBUG") is not None


def tracing() -> bool:
    """Whether OpenTelemetry's variables ask for traces: an OTLP endpoint, or OTEL_TRACES_EXPORTER=otlp.

    Raises ConfigurationError for an exporter or a protocol that there is none for here.
    """
    exporter = (variable("OTEL_TRACES_EXPORTER") or "").lower()
    if (variable("OTEL_SDK_DISABLED") or "").lower() == "true" or exporter == "none":
        return False
    if exporter not in ("", "otlp"):
        raise ConfigurationError(f'OTEL_TRACES_EXPORTER is "{exporter}"; traces go out by otlp only, or none')
    endpoints = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    if exporter != "otlp" and not any(map(variable, endpoints)):
        return False
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        protocol = variable(name)
        if protocol is not None:
            if protocol != "http/protobuf":
                raise ConfigurationError(f'{name} is "{protocol}"; traces go out by http/protobuf only (port 4318)')
            break
    return True


def prepare_litellm() -> None:
    """Set what litellm reads from the environment when it is imported: no download, no `.env` file."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    os.environ["LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS"] = "True"
    os.environ["LITELLM_MODE"] = "PRODUCTION"


def _folder(override_name: str, name: str) -> Path:
    override = variable(override_name)
    if override:
        return Path(override).expanduser()
    here = Path.cwd() / name
    return here if here.is_dir() else _shipped_folder(name)


def _shipped_folder(name: str) -> Path:
    shipped = _SHIPPED / name
    return shipped if shipped.is_dir() else _PACKAGE.parent / name
