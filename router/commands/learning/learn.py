"""`route train`, `score`, `eval`: train and evaluate predictors."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from router import settings
from router.commands import options
from router.commands.learning import gate as gates
from router.commands.learning.retraining import from_records
from router.errors import CallerError, ConfigurationError, did_you_mean

if TYPE_CHECKING:
    from router.cards.catalog import Catalog
    from router.learn.data import RoutingSet
    from router.learn.engine import Engine
    from router.perceive.predictor import Predictor
    from router.perceive.text.encoder import Encoder

Sets = Annotated[list[Path], typer.Argument(help="Routing data sets: folders with prompts.jsonl and scores.csv.")]
Aliases = Annotated[
    Path | None, typer.Option("--aliases", help='JSON file with other names of models: {"name": {"aliases": [...]}}.')
]
SetsOrNone = Annotated[
    list[Path] | None, typer.Argument(help="Routing data sets: folders with prompts.jsonl and scores.csv.")
]
EncoderName = Annotated[
    str, typer.Option("--encoder", help="`static`, or a sentence-transformers model (extra `train`).")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("train")(train)
    app.command("score")(score)
    app.command("eval")(evaluate)


def train(
    sets: SetsOrNone = None,
    *,
    out: Annotated[Path, typer.Option("--out", help="Folder for the artifact.")],
    ids: Annotated[
        Path | None, typer.Option("--ids", help="Train on these prompts only: a file with one prompt id a line.")
    ] = None,
    encoder: EncoderName = settings.STATIC_ENCODER,
    aliases: Aliases = None,
    cards: options.Cards = None,
    plans_folder: options.PlansFolder = None,
    graded: Annotated[
        Path | None,
        typer.Option(
            "--graded", help="Folder of graded prompts: qualities are then the chance that a person accepts the answer."
        ),
    ] = None,
    leaderboards: Annotated[
        Path | None, typer.Option("--leaderboards", help="With --graded: folder of published leaderboards (CSV).")
    ] = None,
    wordings: Annotated[
        str,
        typer.Option(
            "--wordings",
            help="With --graded: wordings of one prompt that get nearly the same forecast, of `wordy` (polite frames), "
            "`stem` (without answer options), `names` (other names); or `none`.",
        ),
    ] = "wordy,stem,names",
    report: Annotated[
        bool, typer.Option("--report", help="Cross-validate on each set too, and store report.json in the artifact.")
    ] = False,
    plans: Annotated[
        bool,
        typer.Option(
            "--plans",
            help="Also fit the gate of plans, on those of the sets that have the answers (answers.csv); a cascade or "
            "committee that names its cards gets a gate of its own where a set has the answers of all of them.",
        ),
    ] = False,
    plans_only: Annotated[
        bool, typer.Option("--plans-only", help="Fit only the gate of plans, and write it into the artifact --out.")
    ] = False,
    engine_name: options.EngineName = "local",
    records: from_records.FromRecords = None,
    since: from_records.Since = "90d",
    held_out: from_records.HeldOut = 0.3,
    trust_key: from_records.TrustKey = None,
    policies: options.PoliciesFolder = None,
    artifact: from_records.Parent = None,
    as_json: options.Json = False,
) -> None:
    """Train a predictor on routing data sets, or retrain one from recorded requests whose answers were judged."""
    from router.compose.learned import save_gate
    from router.learn.data import load_set, read_aliases, read_ids, restrict
    from router.learn.data.everyday import load_graded
    from router.learn.data.facts import load_facts
    from router.learn.engine import open_engine
    from router.learn.training.train import train as fit
    from router.loading import load_encoder
    from router.perceive.head import encoder_name

    if out.exists() and not (out / "predictor.json").exists() and (out.is_file() or any(out.iterdir())):
        raise CallerError(f"{out} exists and is not an artifact; name another folder")
    if records is not None:
        _refuse(
            {
                "SETS": sets,
                "--ids": ids,
                "--aliases": aliases,
                "--graded": graded,
                "--leaderboards": leaderboards,
                "--report": report,
                "--plans": plans,
                "--plans-only": plans_only,
            }
        )
        asked = from_records.Asked(records, since, held_out, tuple(trust_key or ()))
        from_records.retrain(asked, out, cards, policies, artifact, as_json=as_json)
        return
    if not sets:
        raise CallerError("nothing to train on: name routing data sets, or --from-records STORE")
    if leaderboards is not None and graded is None:
        raise CallerError("--leaderboards needs --graded, the prompts that give the scale")
    names = read_aliases(aliases) if aliases else None
    listed = None if ids is None else read_ids(ids)
    answered = gates.Asked(sets, encoder, "--plans-only" if plans_only else "--plans", listed, names)
    if plans_only:
        encoder_name(out)  # Raises ArtifactError where there is no artifact.
        with open_engine(engine_name) as engine:
            gate = gates.fit_gate(answered, options.load_cards(cards), plans_folder, engine)
        gates.save_and_print(out, gate, as_json)
        return
    kinds = _wordings(wordings)
    data = tuple(load_set(folder, names) for folder in sets)
    if listed is not None:
        data = restrict(data, listed, str(ids))
    given = {"--aliases": aliases, "--ids": ids, "--graded": graded, "--leaderboards": leaderboards}
    command = _command(sets, encoder, given, None if graded is None else kinds)
    catalog = options.load_cards(cards)
    with open_engine(engine_name) as engine:
        if plans:
            gate = gates.fit_gate(answered, catalog, plans_folder, engine)
        predictor = fit(
            data,
            load_encoder(encoder),
            command,
            load_facts(settings.shipped_facts_file(), catalog),
            settings.cache_folder() / "features",
            None if graded is None else load_graded(graded),
            leaderboards,
            kinds,
            engine,
        )
        try:
            predictor.save(out)
            if plans:
                save_gate(out, gate)
            if report:
                _write_reports(out / "report.json", data, predictor.encoder, engine)
        except OSError as error:
            raise ConfigurationError(f"{out}: cannot be written: {error.strerror}") from None
    _print_trained(out, predictor, data, catalog, as_json)


def _command(sets: Sequence[Path], encoder: str, given: Mapping[str, Path | None], kinds: Sequence[str] | None) -> str:
    """The command line for the manifest. Names only: an artifact must not reveal folders of this machine."""
    files = [part for option, file in given.items() if file is not None for part in (option, file.name)]
    wordings = [] if kinds is None else ["--wordings", ",".join(kinds) or "none"]
    return shlex.join(["route", "train", *(folder.name for folder in sets), "--encoder", encoder, *files, *wordings])


def _refuse(given: Mapping[str, object]) -> None:
    """Raises CallerError where one of these options is given, which only a training on data sets can follow."""
    if named := [option for option, value in given.items() if value]:
        raise CallerError(f"{', '.join(named)}: not with --from-records, only for training on data sets")


def _print_trained(
    out: Path, predictor: Predictor, data: Sequence[RoutingSet], catalog: Catalog, as_json: bool
) -> None:
    if as_json:
        options.print_json({"artifact": predictor.id, "out": str(out), "models": predictor.manifest.models})
        return
    prompts = sum(len(routing_set.prompts) for routing_set in data)
    typer.echo(f"{out}: artifact {predictor.id}, {len(predictor.models)} models from {prompts} prompts")
    if without := [model for model in predictor.models if catalog.position(model) is None]:
        from router.formats.text import shortened

        named = f"{len(without)} of {len(predictor.models)} models have no card"
        typer.echo(f"{named} (by id or alias): {shortened(without)}")
    typer.echo(f'Use it: route "your prompt" --artifact {out}')


def _wordings(text: str) -> tuple[str, ...]:
    """The names in `--wordings`. Raises CallerError for an unknown one."""
    from router.learn.training.rewording import WORDINGS

    if text == "none":
        return ()
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in WORDINGS:
            known = f"expected {', '.join(WORDINGS)} or none"
            raise CallerError(f'--wordings: unknown "{name}", {known}{did_you_mean(name, WORDINGS)}')
    return names


def _write_reports(file: Path, data: Sequence[RoutingSet], encoder: Encoder, engine: Engine) -> None:
    """Write the report of `route eval SET --baselines none` for each set, as a JSON list."""
    import msgspec

    from router.learn.evaluation.evaluate import EvaluationSettings
    from router.learn.evaluation.evaluate import evaluate as run

    without_baselines = EvaluationSettings(baselines="none")
    reports = [run(routing_set, encoder, without_baselines, engine=engine) for routing_set in data]
    file.write_bytes(msgspec.json.format(msgspec.json.encode(reports), indent=1) + b"\n")


def score(
    artifact: Annotated[Path, typer.Option("--artifact", help="Folder of a trained predictor.")],
    prompts: Annotated[Path, typer.Option("--prompts", help="JSON lines with prompt_id and prompt or messages.")],
    out: Annotated[Path, typer.Option("--out", help="CSV file to write: expected quality.")],
    std: Annotated[
        Path | None, typer.Option("--std", help="CSV file to write: standard deviation of the expected quality.")
    ] = None,
    engine_name: options.EngineName = "local",
    as_json: options.Json = False,
) -> None:
    """Forecast every model's quality on a file of prompts."""
    from router.learn.data import read_prompts
    from router.learn.engine import open_engine
    from router.learn.evaluation.score import write_scores
    from router.loading import load_predictor

    files = [file.resolve() for file in (prompts, out, std) if file is not None]
    if len(set(files)) < len(files):
        raise CallerError("--prompts, --out and --std must be different files")
    read = read_prompts(prompts)
    predictor = load_predictor(artifact)
    with open_engine(engine_name) as engine:
        write_scores(predictor, read, out, std, engine)
    if as_json:
        options.print_json({"out": str(out), "prompts": len(read), "models": predictor.models})
    else:
        typer.echo(f"{out}: {len(read)} prompts × {len(predictor.models)} models", err=True)


def evaluate(
    sets: Sets,
    folds: Annotated[int, typer.Option("--folds", help="Number of folds.")] = 5,
    by: Annotated[
        str | None,
        typer.Option("--by", help="Leave one `domain` or one `model` out at a time."),
    ] = None,
    test: Annotated[
        Path | None, typer.Option("--test", help="Train on SETS and test on this set, on the models of both.")
    ] = None,
    baselines: Annotated[
        str,
        typer.Option("--baselines", help="`quick`: kNN, ridge, k-means; `all`: every method and control; `none`."),
    ] = "quick",
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline",
            help="Encoder of a second kNN and ridge; `none` skips them.",
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
        str | None, typer.Option("--pair", help="`strong,weak`: two models, for RouteLLM's APGR and CPT.")
    ] = None,
    unknown: Annotated[
        Path | None, typer.Option("--unknown", help="Out-of-domain prompts: report detection AUROC.")
    ] = None,
    ablations: Annotated[
        bool, typer.Option("--ablations", help="Add ours without the embedding, and without the surface features.")
    ] = False,
    draws: Annotated[int, typer.Option("--draws", min=0, help="Number of bootstrap draws for the intervals.")] = 500,
    random_state: Annotated[int, typer.Option("--random-state", min=0, help="Seed of the folds and the draws.")] = 0,
    wide: Annotated[bool, typer.Option("--wide", help="Print every figure.")] = False,
    html: Annotated[Path | None, typer.Option("--html", help="Write an HTML report with plots.")] = None,
    engine_name: options.EngineName = "local",
    as_json: options.Json = False,
) -> None:
    """Evaluate the predictor on routing data sets by cross-validation, with baselines."""
    from router.learn.data import join, load_set, read_aliases
    from router.learn.data.facts import load_facts
    from router.learn.data.list_prices import read_prices
    from router.learn.engine import open_engine
    from router.learn.evaluation.evaluate import EvaluationSettings
    from router.learn.evaluation.evaluate import evaluate as run
    from router.learn.evaluation.ood import read_unknown
    from router.learn.report import write_html
    from router.loading import load_encoder

    names = read_aliases(aliases) if aliases else None
    second = baseline or ("all-MiniLM-L6-v2" if baselines == "all" else "none")
    strong_and_weak = tuple(part.strip() for part in pair.split(",")) if pair else None
    if strong_and_weak is not None and len(strong_and_weak) != 2:
        raise CallerError(f'--pair takes two models, "strong,weak", got "{pair}"')
    data, loaded = join([load_set(folder, names) for folder in sets]), load_encoder(encoder)
    tested = load_set(test, names) if test else None
    with open_engine(engine_name) as engine:
        report = run(
            data,
            loaded,
            EvaluationSettings(
                folds=folds,
                by=by,
                baselines=baselines,
                pair=strong_and_weak,
                ablations=ablations,
                draws=draws,
                prompt_map=html is not None,
                random_state=random_state,
            ),
            test=tested,
            baseline_encoder=None if second == "none" else lambda: load_encoder(second),
            cache=settings.cache_folder() / "embeddings",
            prices=read_prices(prices) if prices else None,
            unknown=read_unknown(unknown) if unknown else None,
            facts=load_facts(settings.shipped_facts_file(), options.load_cards(None)) if by == "model" else None,
            engine=engine,
        )
    if as_json:
        options.print_json(report)
    else:
        from router.commands.render import print_report

        print_report(report, wide)
    # After the printed report, which a file that cannot be written must not take away.
    if html is not None:
        write_html(html, report)
        if not as_json:
            typer.echo(f"{html}: report with plots")
