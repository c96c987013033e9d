"""`route train`, `score`, `eval`, `distil`: the work on routing data sets."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from router import settings
from router.commands import options
from router.errors import CallerError, ConfigurationError

Sets = Annotated[list[Path], typer.Argument(help="Routing data sets: folders with prompts.jsonl and scores.csv.")]
Aliases = Annotated[
    Path | None, typer.Option("--aliases", help='JSON file that joins names: {"name": {"aliases": [...]}}.')
]
EncoderName = Annotated[
    str, typer.Option("--encoder", help="`static`, or a sentence-transformers model (extra `train`).")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("train")(train)
    app.command("score")(score)
    app.command("eval")(evaluate)
    app.command("distil")(distil)


def train(
    sets: Sets,
    out: Annotated[Path, typer.Option("--out", help="Folder for the artifact.")],
    ids: Annotated[Path | None, typer.Option("--ids", help="File of prompt ids, one a line: train on these.")] = None,
    encoder: EncoderName = options.STATIC,
    aliases: Aliases = None,
    cards: options.Cards = None,
    as_json: options.Json = False,
) -> None:
    """Fit a predictor on tables of outcomes."""
    from router.learn.dataset import load_set, read_aliases, read_ids, restrict
    from router.learn.train import train as fit

    if out.exists() and not (out / "predictor.json").exists() and (out.is_file() or any(out.iterdir())):
        raise CallerError(f"{out} exists and is no artifact; name another folder")
    names = read_aliases(aliases) if aliases else None
    data = tuple(load_set(folder, names) for folder in sets)
    if ids is not None:
        data = restrict(data, read_ids(ids), str(ids))
    # File names only: where they lay on this machine is nobody's business.
    files = [*(["--aliases", aliases.name] if aliases else []), *(["--ids", ids.name] if ids else [])]
    command = shlex.join(["route", "train", *(folder.name for folder in sets), "--encoder", encoder, *files])
    predictor = fit(data, options.load_encoder(encoder), command)
    try:
        predictor.save(out)
    except OSError as error:
        raise ConfigurationError(f"{out}: cannot be written: {error.strerror}") from None
    if as_json:
        options.print_json({"artifact": predictor.id, "out": str(out), "models": predictor.manifest.models})
        return
    prompts = sum(len(each.prompts) for each in data)
    typer.echo(f"{out}: artifact {predictor.id}, {len(predictor.models)} models from {prompts} prompts")
    catalog = options.load_cards(cards)
    if without := [model for model in predictor.models if catalog.position(model) is None]:
        shown = ", ".join(without[:5]) + (" …" if len(without) > 5 else "")
        typer.echo(f"{len(without)} of {len(predictor.models)} models have no card here (id or alias): {shown}")
    typer.echo(f'Use it: route "your prompt" --artifact {out}')


def score(
    artifact: Annotated[Path, typer.Option("--artifact", help="Folder of a trained predictor.")],
    prompts: Annotated[Path, typer.Option("--prompts", help="JSON lines with prompt_id and prompt.")],
    out: Annotated[Path, typer.Option("--out", help="CSV to write: expected quality.")],
    std: Annotated[Path | None, typer.Option("--std", help="CSV to write: its standard deviation.")] = None,
    as_json: options.Json = False,
) -> None:
    """Forecast every model's quality on a file of prompts."""
    from router.learn.dataset import read_prompts
    from router.learn.score import write_scores

    files = [file.resolve() for file in (prompts, out, std) if file is not None]
    if len(set(files)) < len(files):
        raise CallerError("--prompts, --out and --std must be different files")
    read = read_prompts(prompts)
    predictor = options.load_predictor(artifact)
    write_scores(predictor, read, out, std)
    if as_json:
        options.print_json({"out": str(out), "prompts": len(read), "models": predictor.models})
    else:
        typer.echo(f"{out}: {len(read)} prompts × {len(predictor.models)} models", err=True)


def evaluate(
    sets: Sets,
    folds: Annotated[int, typer.Option("--folds", help="How many folds.")] = 5,
    by: Annotated[str | None, typer.Option("--by", help="`domain`: leave one domain out at a time.")] = None,
    encoder: EncoderName = options.STATIC,
    baseline: Annotated[
        str, typer.Option("--baseline", help="Encoder of the ridge baseline; `none` leaves it out.")
    ] = "all-MiniLM-L6-v2",
    aliases: Aliases = None,
    as_json: options.Json = False,
) -> None:
    """Cross-validate on a data set, with baselines beside it."""
    from router.learn.dataset import join, load_set, read_aliases
    from router.learn.evaluate import evaluate as run

    names = read_aliases(aliases) if aliases else None
    data = join([load_set(folder, names) for folder in sets])
    report = run(
        data,
        options.load_encoder(encoder),
        folds=folds,
        by=by,
        baseline_encoder=None if baseline == "none" else lambda: options.load_encoder(baseline),
        cache=settings.cache_folder() / "embeddings",
    )
    if as_json:
        options.print_json(report)
    else:
        from router.commands.render import print_report

        print_report(report)


def distil(
    out: Annotated[Path, typer.Option("--out", help="Folder for the encoder.")],
    as_json: options.Json = False,
) -> None:
    """Make the static encoder from all-MiniLM-L6-v2 (extra `train`)."""
    from router.learn.distil import distil as make

    print("reading the vocabulary, about a minute …", file=sys.stderr)  # noqa: T201 - progress
    card = make(out)
    if as_json:
        options.print_json(card)
    else:
        typer.echo(f"{out}: {card.tokens} tokens × {card.dimensions} dimensions")
