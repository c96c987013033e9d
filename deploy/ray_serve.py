"""Replicas of the gateway behind Ray Serve: `serve run deploy.ray_serve:application replicas=4 keys=keys.yaml`.

Needs the extra `scale`. The files and folders that the arguments name must be on every machine of the cluster, and the
store shared by them. Ray Serve starts the replicas, replaces those that end, and sends a request to the one with the
fewest; `docs/scale.md` has the arguments.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from ray import serve
from starlette.types import ASGIApp

from router import settings
from router.commands.options import load_sources
from router.errors import ConfigurationError, did_you_mean
from router.gateway.app import make_app
from router.gateway.config.reload import ConfigReloader, loader
from router.gateway.server.allocator import return_large_blocks
from router.gateway.server.serve import ServeOptions, open_gateway
from router.loading import load_plan_columns, load_predictor

_FILES = ("cards", "policies", "gateway", "keys")
_ARGUMENTS = (*_FILES, "artifact", "store", "state", "records", "replicas", "cpus", "requests", "unkeyed")
_LAST_WORDS_S = 10.0

_LOG = logging.getLogger("ray.serve")


def application(arguments: Mapping[str, str]) -> serve.Application:
    """The application for `serve run` and `serve deploy`.

    `replicas` (2), `cpus` a replica (1), `requests` at once in a replica (200); `unkeyed=yes` serves without API keys;
    the rest as the options of `route serve`. Raises ConfigurationError for an argument that does not exist, an invalid
    configuration, or one without API keys: Ray Serve's address is not known here, so anyone may reach it.
    """
    for name in arguments:
        if name not in _ARGUMENTS:
            raise ConfigurationError(f'there is no argument "{name}"{did_you_mean(name, _ARGUMENTS)}')
    files = {name: Path(arguments[name]).resolve() if name in arguments else None for name in _FILES}
    artifact = arguments.get("artifact")
    options = ServeOptions(
        sources=load_sources(**files),
        artifact=Path(artifact).resolve() if artifact else settings.default_artifact_folder(),
        store=arguments.get("store") or settings.default_store(),
        state=arguments.get("state") or settings.default_state(),
        records_url=arguments.get("records") or settings.default_records(),
        # More than one worker: conversations are kept in the store, where the other replicas find them. A state on
        # another machine has them anyway, and each replica is one of its `replicas`.
        workers=1 if arguments.get("state") or settings.default_state() else 2,
    )
    active = ConfigReloader(loader(options.sources, load_predictor(options.artifact)), options.sources).current
    if not active.keys and arguments.get("unkeyed") != "yes":
        raise ConfigurationError(
            f"{options.sources.keys} has no API keys, so anyone who reaches Ray Serve could use the providers' keys. "
            "Create a key with `route keys add ID`, or add the argument unkeyed=yes where only this machine reaches it"
        )

    @serve.deployment(
        name="gateway",
        num_replicas=_count(arguments, "replicas", 2),
        max_ongoing_requests=_count(arguments, "requests", 200),
        ray_actor_options={"num_cpus": _count(arguments, "cpus", 1)},
        # A replica that is replaced first completes its requests.
        graceful_shutdown_timeout_s=active.config.timeouts.total_s + _LAST_WORDS_S,
    )
    @serve.ingress(_builder(options))
    class Replica:
        """One worker of the gateway."""

    # `ingress` replaces the class by one that runs the application.
    return Replica.bind()  # type: ignore[attr-defined, no-any-return]


def _builder(options: ServeOptions) -> Callable[[], ASGIApp]:
    """A function that makes the ASGI application in a replica. Its lifespan starts and closes the gateway."""

    def build() -> ASGIApp:
        return_large_blocks()
        predictor, columns = load_predictor(options.artifact), load_plan_columns(options.artifact)
        load = loader(options.sources, predictor, columns=columns)
        reloader = ConfigReloader(load, options.sources, notify=_LOG.info)
        return make_app(open_gateway(options, reloader, notify=_LOG.info))

    return build


def _count(arguments: Mapping[str, str], name: str, default: int) -> int:
    text = arguments.get(name, str(default))
    if not text.isdigit() or int(text) < 1:
        raise ConfigurationError(f'{name} takes a number from 1, got "{text}"')
    return int(text)
