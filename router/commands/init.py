"""`route init`: copy the package's cards, policies and plans, or write what a deployment needs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from router import settings
from router.commands import options
from router.errors import CallerError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("init")(init)


def init(
    folder: Annotated[
        Path, typer.Argument(help="Folder in which to create model_cards/, policies/ and plans/, or the files.")
    ] = Path(),
    docker: Annotated[
        bool, typer.Option("--docker", help="Write a Dockerfile and a compose file for your cards instead.")
    ] = False,
    systemd: Annotated[bool, typer.Option("--systemd", help="Write a systemd unit instead.")] = False,
    helm: Annotated[
        bool, typer.Option("--helm", help="Write the Helm chart with values for your cards instead.")
    ] = False,
    port: Annotated[
        int | None,
        typer.Option("--port", min=1, max=65535, help="Port of the deployment.", show_default="8686; Helm: 80"),
    ] = None,
    image: Annotated[
        str,
        typer.Option("--image", help="With --helm: the image by digest, such as registry.example/pulvinar@sha256:…."),
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Overwrite files of a deployment.")] = False,
    cards: options.Cards = None,
    as_json: options.Json = False,
) -> None:
    """Copy the package's cards, policies and plans, to edit them; or write what a deployment needs.

    With --docker, --systemd or --helm the cards, policies, plans and gateway.yaml of the working directory go into the
    files, and the next steps are printed. Nothing is overwritten without --force.
    """
    chosen = [name for name, wanted in (("docker", docker), ("systemd", systemd), ("helm", helm)) if wanted]
    if len(chosen) > 1:
        raise CallerError(f"--{chosen[0]} and --{chosen[1]}: choose one, and run the command again for the other")
    if chosen:
        _deploy(chosen[0], folder, port, image, force, cards, as_json)
        return
    if port or image or force:
        raise CallerError("--port, --image and --force belong to --docker, --systemd or --helm")
    _copy(folder, as_json)


def _deploy(
    kind: str, folder: Path, port: int | None, image: str, force: bool, cards: Path | None, as_json: bool
) -> None:
    from router.commands import deployment

    if image and (kind != "helm" or "@sha256:" not in image):
        raise CallerError("--image belongs to --helm, and names an image by digest: registry.example/pulvinar@sha256:…")
    default_port = 80 if kind == "helm" else settings.DEFAULT_PORT
    target = deployment.Target(
        folder, cards or settings.default_cards_folder(), options.load_cards(cards), port or default_port, image
    )
    kinds = {"docker": deployment.docker, "systemd": deployment.systemd, "helm": deployment.helm}
    written = kinds[kind](target)
    paths = deployment.write(written, folder, force)
    if as_json:
        document = {"files": [str(path) for path in paths], "next": written.next_steps, "remarks": written.remarks}
        options.print_json(document)
        return
    typer.echo(f"{len(paths)} files in {folder}: {', '.join(sorted({_top(path, folder) for path in paths}))}")
    for remark in written.remarks:
        typer.echo(f"Note: {remark}.")
    typer.echo("Next:")
    for step in written.next_steps:
        typer.echo(f"  {step}")


def _top(path: Path, folder: Path) -> str:
    parts = path.relative_to(folder).parts
    return parts[0] if len(parts) == 1 else f"{parts[0]}/"


def _copy(folder: Path, as_json: bool) -> None:
    sources = {
        "model_cards": settings.shipped_cards_folder(),
        "policies": settings.shipped_policies_folder(),
        "plans": settings.shipped_plans_folder(),
    }
    for name in sources:
        if (folder / name).exists():
            raise CallerError(f"{folder / name} already exists; move it, or give another folder: route init FOLDER")
    for name, source in sources.items():
        shutil.copytree(source, folder / name)
    counts = {str(folder / name): len(list((folder / name).glob("*.yaml"))) for name in sources}
    if as_json:
        options.print_json(counts)
        return
    cards, policies, plans = counts.items()
    typer.echo(f"{cards[0]}: {cards[1]} cards and an examples folder\n{policies[0]}: {policies[1]} policies")
    typer.echo(f"{plans[0]}: {plans[1]} plans")
    typer.echo(f"Every `route` command that runs in {folder.resolve()} uses them.")
