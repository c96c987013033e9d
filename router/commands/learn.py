"""`route train`, `score`, `eval`, `distil`: the work on routing data sets."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from router import settings
from router.commands import options
from router.errors import CallerError, ConfigurationError

if TYPE_CHECKING:
    from router.learn.data import RoutingSet
    from router.perceive.encoder import Encoder

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
    encoder: EncoderName = settings.STATIC_ENCODER,
    aliases: Aliases = None,
    cards: options.Cards = None,
    report: Annotated[
        bool, typer.Option("--report", help="Cross-validate on each set too, and keep report.json in the artifact.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Fit a predictor on tables of outcomes."""
    from router.learn.data import load_set, read_aliases, read_ids, restrict
    from router.learn.data.facts import load_facts
    from router.learn.training.train import train as fit
    from router.loading import load_encoder

    if out.exists() and not (out / "predictor.json").exists() and (out.is_file() or any(out.iterdir())):
        raise CallerError(f"{out} exists and is no artifact; name another folder")
    names = read_aliases(aliases) if aliases else None
    data = tuple(load_set(folder, names) for folder in sets)
    if ids is not None:
        data = restrict(data, read_ids(ids), str(ids))
    # File names only: where they lay on this machine is nobody's business.
    files = [*(["--aliases", aliases.name] if aliases else []), *(["--ids", ids.name] if ids else [])]
    command = shlex.join(["route", "train", *(folder.name for folder in sets), "--encoder", encoder, *files])
    catalog = options.load_cards(cards)
    predictor = fit(
        data,
        load_encoder(encoder),
        command,
        load_facts(settings.shipped_facts_file(), catalog),
        settings.cache_folder() / "features",
    )
    try:
        predictor.save(out)
        if report:
            _write_reports(out / "report.json", data, predictor.encoder)
    except OSError as error:
        raise ConfigurationError(f"{out}: cannot be written: {error.strerror}") from None
    if as_json:
        options.print_json({"artifact": predictor.id, "out": str(out), "models": predictor.manifest.models})
        return
    prompts = sum(len(each.prompts) for each in data)
    typer.echo(f"{out}: artifact {predictor.id}, {len(predictor.models)} models from {prompts} prompts")
    if without := [model for model in predictor.models if catalog.position(model) is None]:
        shown = ", ".join(without[:5]) + (" …" if len(without) > 5 else "")
        typer.echo(f"{len(without)} of {len(predictor.models)} models have no card here (id or alias): {shown}")
    typer.echo(f'Use it: route "your prompt" --artifact {out}')


def _write_reports(file: Path, data: Sequence[RoutingSet], encoder: Encoder) -> None:
    """What `route eval SET --baselines none` says of each set, as a JSON list."""
    import msgspec

    from router.learn.evaluation.evaluate import evaluate as run

    reports = [run(each, encoder, baselines="none") for each in data]
    file.write_bytes(msgspec.json.format(msgspec.json.encode(reports), indent=1) + b"\n")


def score(
    artifact: Annotated[Path, typer.Option("--artifact", help="Folder of a trained predictor.")],
    prompts: Annotated[Path, typer.Option("--prompts", help="JSON lines with prompt_id and prompt.")],
    out: Annotated[Path, typer.Option("--out", help="CSV to write: expected quality.")],
    std: Annotated[Path | None, typer.Option("--std", help="CSV to write: its standard deviation.")] = None,
    as_json: options.Json = False,
) -> None:
    """Forecast every model's quality on a file of prompts."""
    from router.learn.data import read_prompts
    from router.learn.evaluation.score import write_scores
    from router.loading import load_predictor

    files = [file.resolve() for file in (prompts, out, std) if file is not None]
    if len(set(files)) < len(files):
        raise CallerError("--prompts, --out and --std must be different files")
    read = read_prompts(prompts)
    predictor = load_predictor(artifact)
    write_scores(predictor, read, out, std)
    if as_json:
        options.print_json({"out": str(out), "prompts": len(read), "models": predictor.models})
    else:
        typer.echo(f"{out}: {len(read)} prompts × {len(predictor.models)} models", err=True)


def evaluate(
    sets: Sets,
    folds: Annotated[int, typer.Option("--folds", help="How many folds.")] = 5,
    by: Annotated[
        str | None,
        typer.Option("--by", help="Leave one `domain` out at a time, or one `model`."),
    ] = None,
    test: Annotated[
        Path | None, typer.Option("--test", help="Learn from SETS and forecast this one, on the models of both.")
    ] = None,
    baselines: Annotated[
        str,
        typer.Option("--baselines", help="`quick`: kNN, ridge, k-means; `all`: every method and control; `none`."),
    ] = "quick",
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline",
            help="Encoder of a second kNN and ridge; `none` leaves them out.",
            show_default="all-MiniLM-L6-v2 with --baselines all",
        ),
    ] = None,
    encoder: EncoderName = settings.STATIC_ENCODER,
    aliases: Aliases = None,
    prices: Annotated[
        Path | None,
        typer.Option("--prices", help='List prices: {"name": {"usd_per_m_input": …, "usd_per_m_output": …}}.'),
    ] = None,
    pair: Annotated[
        str | None, typer.Option("--pair", help="`strong,weak`: two models, for APGR and CPT as RouteLLM has them.")
    ] = None,
    unknown: Annotated[
        Path | None, typer.Option("--unknown", help="Prompts of another kind: how well are they found to be new?")
    ] = None,
    ablations: Annotated[
        bool, typer.Option("--ablations", help="Ours without the embedding, and without surface features.")
    ] = False,
    draws: Annotated[int, typer.Option("--draws", help="Bootstrap draws of the intervals.")] = 500,
    random_state: Annotated[int, typer.Option("--random-state", help="Seed of folds and draws.")] = 0,
    wide: Annotated[bool, typer.Option("--wide", help="Print every figure.")] = False,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page with drawings.")] = None,
    as_json: options.Json = False,
) -> None:
    """Cross-validate on a data set, with baselines beside it."""
    from router.learn.data import join, load_set, read_aliases
    from router.learn.data.facts import load_facts
    from router.learn.data.list_prices import read_prices
    from router.learn.evaluation.evaluate import evaluate as run
    from router.learn.evaluation.ood import read_unknown
    from router.learn.report.page import write_html
    from router.loading import load_encoder

    names = read_aliases(aliases) if aliases else None
    second = baseline or ("all-MiniLM-L6-v2" if baselines == "all" else "none")
    strong_and_weak = tuple(part.strip() for part in pair.split(",")) if pair else None
    if strong_and_weak is not None and len(strong_and_weak) != 2:
        raise CallerError(f'--pair takes two models, "strong,weak", got "{pair}"')
    report = run(
        join([load_set(folder, names) for folder in sets]),
        load_encoder(encoder),
        folds=folds,
        by=by,
        test=load_set(test, names) if test else None,
        baselines=baselines,
        baseline_encoder=None if second == "none" else lambda: load_encoder(second),
        cache=settings.cache_folder() / "embeddings",
        prices=read_prices(prices) if prices else None,
        pair=strong_and_weak,
        unknown=read_unknown(unknown) if unknown else None,
        facts=load_facts(settings.shipped_facts_file(), options.load_cards(None)) if by == "model" else None,
        ablations=ablations,
        draws=draws,
        prompt_map=html is not None,
        random_state=random_state,
    )
    if html is not None:
        write_html(html, report)
    if as_json:
        options.print_json(report)
    else:
        from router.commands.render import print_report

        print_report(report, wide)
        if html is not None:
            typer.echo(f"{html}: report with drawings")


def distil(
    out: Annotated[Path, typer.Option("--out", help="Folder for the encoder.")],
    as_json: options.Json = False,
) -> None:
    """Make the static encoder anew, in about an hour (extras `train` and `distil`)."""
    from router.learn.encoder.distil import distil as make

    print("reading the vocabulary, about a minute …", file=sys.stderr)  # noqa: T201 - progress
    card = make(out)
    if as_json:
        options.print_json(card)
    else:
        typer.echo(f"{out}: {card.tokens} tokens × {card.dimensions} dimensions")
