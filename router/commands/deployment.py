"""What `route init --docker|--systemd|--helm` writes: the package's files, with the user's cards and port."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from router import __version__, settings
from router.errors import CallerError, ConfigurationError
from router.formats.yaml.file import yaml_files

if TYPE_CHECKING:
    from router.cards import Catalog

_CONFIGURATION_FILES = ("gateway.yaml", "keys.yaml")
# Where the unit's hardening lets the gateway see its program.
_HIDDEN_FROM_UNITS = ("/home", "/root", "/run/user", "/tmp")
_SECRET = 0o600


class Target(Struct, frozen=True):
    """What is deployed: the folder to write, cards, the port, and the image `NAME@sha256:…`, empty if unknown."""

    folder: Path
    cards_folder: Path
    catalog: Catalog
    port: int
    image: str = ""


class Written(Struct, frozen=True):
    """Contents by path, relative to the folder; those with secrets; the next steps, and what needs attention."""

    files: Mapping[str, str]
    next_steps: tuple[str, ...]
    secret: frozenset[str] = frozenset()
    remarks: tuple[str, ...] = ()


def docker(target: Target) -> Written:
    """An image of this release and a compose file."""
    compose = _replaced(
        _shipped("compose.yaml"),
        {
            "# docker compose -f deploy/compose.yaml up --build --detach\n": "# docker compose up --build --detach\n",
            "# Create deploy/config/keys.yaml and deploy/providers.env first: see docs/deployment.md.\n": "",
            "create deploy/shared.env,": "copy shared.env.example to shared.env,",
            "      context: ..\n      dockerfile: deploy/Dockerfile\n": "      context: .\n",
            "        # `shared` for Redis and PostgreSQL: the name of a file in constraints/.\n": (
                f'        VERSION: "{__version__}"\n        # `[redis,postgres]` for both.\n'
            ),
            '"127.0.0.1:8686:8686"': f'"127.0.0.1:{target.port}:8686"',
        },
    )
    files = {
        "Dockerfile": _shipped("release.Dockerfile"),
        "compose.yaml": compose,
        # Nothing is sent to the builder, least of all the keys.
        ".dockerignore": "*\n",
        "shared.env.example": _shipped("shared.env.example"),
        "providers.env": _providers(target.catalog),
        **{f"config/{name}": text for name, text in _own_configuration(target).items()},
    }
    steps = (
        *_fill_in(target),
        *_first_key(target.folder / "config"),
        f"docker compose --file {target.folder / 'compose.yaml'} up --build --detach",
        f"curl http://127.0.0.1:{target.port}/readyz",
    )
    return Written(files, steps, frozenset({"providers.env"}), _loopback_remarks(target, "the container"))


def systemd(target: Target) -> Written:
    """A hardened unit for the program that runs now, or for one in /opt where a unit cannot see this one."""
    program, install = _program()
    port = "" if target.port == settings.DEFAULT_PORT else f" --port {target.port}"
    unit = _replaced(
        _shipped("pulvinar.service"), {"ExecStart=/opt/pulvinar/bin/pulvinar serve": f"ExecStart={program} serve{port}"}
    )
    own = _own_configuration(target)
    here = target.folder
    steps = (
        "sudo useradd --system --home-dir /nonexistent --shell /usr/sbin/nologin pulvinar",
        *install,
        *_fill_in(target),
        *_first_key(here / "etc"),
        "sudo install -d /etc/pulvinar",
        f"sudo cp -r {here / 'etc'}/. /etc/pulvinar/",
        f"sudo install -m 600 {here / 'providers.env'} /etc/pulvinar/providers.env",
        f"sudo install -m 644 {here / 'pulvinar.service'} /etc/systemd/system/pulvinar.service",
        "sudo systemctl enable --now pulvinar",
        f"curl http://127.0.0.1:{target.port}/readyz",
    )
    files = {"pulvinar.service": unit, "providers.env": _providers(target.catalog)}
    files |= {f"etc/{name}": text for name, text in own.items()}
    return Written(files, steps, frozenset({"providers.env"}))


def helm(target: Target) -> Written:
    """The chart, with values for the user's cards, policies, plans and gateway.yaml."""
    import yaml

    from router.formats.yaml.writing import yaml_text

    chart = settings.shipped_deploy_folder() / "helm" / "pulvinar"
    files = {f"pulvinar/{file.relative_to(chart)}": file.read_text("utf-8") for file in _files(chart)}
    own = _own_configuration(target)
    repository, _, digest = target.image.partition("@")
    values: dict[str, Any] = {
        "image": {"repository": repository, "digest": digest},
        "providers": {"secret": "pulvinar-providers"},
        "service": {"port": target.port},
    }
    config: dict[str, Any] = {}
    if "gateway.yaml" in own:
        config["gateway"] = yaml.safe_load(own["gateway.yaml"]) or {}
    for folder, key in (("model_cards", "cards"), ("policies", "policies"), ("plans", "plans")):
        texts = {Path(name).stem: text for name, text in own.items() if name.startswith(f"{folder}/")}
        if texts:
            config[key] = texts
    if config:
        values["config"] = config
    files["values.yaml"] = "# All values are in pulvinar/values.yaml.\n" + yaml_text(values)
    files["providers.env"] = _providers(target.catalog)
    here = target.folder
    fill_image = () if target.image else (f"put the image that you pushed, by digest, into {here / 'values.yaml'}",)
    keys = Path("keys.yaml") if Path("keys.yaml").is_file() else here / "keys.yaml"
    steps = (
        *fill_image,
        *_fill_in(target),
        *_first_key(here),
        f"kubectl create secret generic pulvinar-keys --from-file=keys.yaml={keys}",
        f"kubectl create secret generic pulvinar-providers --from-file={here / 'providers.env'}",
        f"helm install pulvinar {here / 'pulvinar'} --values {here / 'values.yaml'}",
    )
    return Written(files, steps, frozenset({"providers.env"}), _loopback_remarks(target, "the pod"))


def write(written: Written, folder: Path, force: bool) -> list[Path]:
    """Write the files; returns their paths. Raises CallerError where one exists, before anything is written.

    A file with secrets that exists is left as it is, even with `force`: it may be the only copy of a key.
    """
    paths = {folder / name: text for name, text in written.files.items()}
    kept = {folder / name for name in written.secret}
    if force:
        paths = {path: text for path, text in paths.items() if path not in kept or not path.exists()}
    existing = [path for path in paths if path.exists()]
    if existing and not force:
        others = f" and {len(existing) - 1} more" if len(existing) > 1 else ""
        raise CallerError(f"{existing[0]}{others} already exists; give another folder, or --force to overwrite")
    for path, text in paths.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if path in kept:
            # Before anything is in it, so that nobody can read it meanwhile.
            path.touch(mode=_SECRET)
            path.chmod(_SECRET)
        path.write_text(text, encoding="utf-8")
    return list(paths)


def _shipped(name: str) -> str:
    return (settings.shipped_deploy_folder() / name).read_text("utf-8")


def _replaced(text: str, parts: Mapping[str, str]) -> str:
    for old, new in parts.items():
        if old not in text:
            raise ConfigurationError(f"the package's deployment file lacks {old.strip()!r}; install the package again")
        text = text.replace(old, new)
    return text


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def _own_configuration(target: Target) -> dict[str, str]:
    """The user's own cards, policies, plans, settings and keys: contents by path in the gateway's working directory.

    Keys are hashes. Folders of the package are left out: without others, the gateway uses them anyway.
    """
    own = {name: Path(name).read_text("utf-8") for name in _CONFIGURATION_FILES if Path(name).is_file()}
    for name, folder, shipped in (
        ("model_cards", target.cards_folder, settings.shipped_cards_folder()),
        ("policies", settings.default_policies_folder(), settings.shipped_policies_folder()),
        ("plans", settings.default_plans_folder(), settings.shipped_plans_folder()),
    ):
        if folder.resolve() != shipped.resolve():
            own |= {f"{name}/{file.name}": file.read_text("utf-8") for file in yaml_files(folder)}
    return own


def _key_variables(catalog: Catalog) -> list[str]:
    """The variables of providers' keys that the cards name, or that their provider needs."""
    from router.dispatch.providers import key_variable

    return sorted({name for card in catalog if (name := key_variable(card))})


def _providers(catalog: Catalog) -> str:
    lines = "".join(f"{name}=\n" for name in _key_variables(catalog))
    return f"# The providers' keys that your cards need, one per line. Leave empty what you do not have.\n{lines}"


def _fill_in(target: Target) -> tuple[str, ...]:
    return (
        (f"put the providers' keys into {target.folder / 'providers.env'}",) if _key_variables(target.catalog) else ()
    )


def _first_key(folder: Path) -> tuple[str, ...]:
    """How to make a client's key in `folder`, unless there is one already in the working directory."""
    if Path("keys.yaml").is_file():
        return ()
    return (f"mkdir -p {folder}", f"route keys add me --file {folder / 'keys.yaml'}")


def _program() -> tuple[str, tuple[str, ...]]:
    """The program of a unit, and the steps that install it where it is missing."""
    own = Path(sys.executable).parent / "pulvinar"
    hidden = any(own.is_relative_to(folder) for folder in _HIDDEN_FROM_UNITS)
    if own.exists() and not hidden:
        return str(own), ()
    install = ("sudo python3 -m venv /opt/pulvinar", f"sudo /opt/pulvinar/bin/pip install pulvinar=={__version__}")
    return "/opt/pulvinar/bin/pulvinar", install


def _loopback_remarks(target: Target, inside: str) -> tuple[str, ...]:
    """The user's cards whose server would be looked for inside the container."""
    from router.formats.net import is_loopback

    own = target.cards_folder.resolve() != settings.shipped_cards_folder().resolve()
    names = sorted(card.id for card in target.catalog if own and is_loopback(card.base_url))
    if not names:
        return ()
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return (f"{shown}: base_url is on 127.0.0.1, which is {inside} itself there; name the server's host",)
