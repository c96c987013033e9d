"""`route adapters`: import adapter folders as cards, check them, rewrite them as plain LoRA."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from router.commands import options
from router.commands.catalogue import resident
from router.errors import CallerError, ConfigurationError

if TYPE_CHECKING:
    from router.adapters.base import Base
    from router.adapters.cards import Imported
    from router.adapters.fold import Folded
    from router.cards import Card

app = typer.Typer(
    help="Import adapter folders as cards, check them, rewrite them as plain LoRA; see and change what servers hold.",
    no_args_is_help=True,
)

Folder = Annotated[Path, typer.Argument(help="Folder of one adapter in PEFT's format, or of many.")]
One = Annotated[Path, typer.Argument(help="Folder of one adapter in PEFT's format.")]
Out = Annotated[Path, typer.Argument(help="New folder for the plain LoRA.")]
BaseFolder = Annotated[
    Path | None, typer.Option("--base", help="Folder of the base model: its config.json, and its weights if any.")
]


def register(parent: typer.Typer) -> None:
    """Add the command group."""
    resident.register(app)
    parent.add_typer(app, name="adapters")


@app.command("import")
def import_adapters(
    folder: Folder,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of cards to write to, such as cards/.")] = None,
    base_card: Annotated[str | None, typer.Option("--base-card", help="Id of the base's card.")] = None,
    provider: Annotated[
        str | None,
        typer.Option("--provider", help="Provider of the cards.", show_default="the base's, else hosted_vllm"),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace cards that exist.")] = False,
    as_json: options.Json = False,
) -> None:
    """Describe adapters from configuration and header, and write a card for each with --out."""
    from router.adapters import cards as adapter_cards
    from router.adapters.folder import adapter_folders, read_adapter
    from router.cards import load_catalog
    from router.formats.yaml_file import yaml_files

    existing = list(load_catalog(out)) if out is not None and out.is_dir() and any(yaml_files(out)) else []
    described, problems = [], []
    for path, card_id in adapter_cards.card_ids(adapter_folders(folder), folder).items():
        try:
            described.append(adapter_cards.describe(read_adapter(path), card_id))
        except ConfigurationError as error:
            problems.append(str(error))
    if as_json:
        options.print_json(described)
    for facts in described:
        if not as_json:
            _print_import(facts)
        if out is None:
            continue
        taken = [other.id for other in described]
        try:
            note = _write_card(out, facts, existing, base_card, provider, taken=taken, overwrite=overwrite)
        except ConfigurationError as error:
            problems.append(str(error))
            continue
        typer.echo(note, err=as_json)
    for problem in problems:
        typer.echo(f"route: {problem}", err=True)
    if problems:
        raise typer.Exit(ConfigurationError.exit_code)


@app.command("lint")
def lint_adapters(folder: Folder, base: BaseFolder = None, as_json: options.Json = False) -> None:
    """Check values, shapes, keys and norms, and find adapters that are nearly the same. Faults end with exit code 3."""
    from router.adapters.folder import adapter_folders, read_adapter
    from router.adapters.lint import Finding, lint
    from router.adapters.similar import nearly_the_same

    model = _read_base(base)
    findings: dict[str, list[Finding]] = {}
    sound = []
    for path in adapter_folders(folder):
        try:
            adapter = read_adapter(path)
            findings[str(path)] = lint(adapter, model)
        except ConfigurationError as error:
            findings[str(path)] = [Finding("error", "file", str(path), str(error))]
            continue
        if not any(finding.level == "error" for finding in findings[str(path)]):
            sound.append(adapter)
    pairs = nearly_the_same(sound)
    if as_json:
        options.print_json({"adapters": findings, "similar": pairs})
    else:
        for path_text, found in findings.items():
            typer.echo(f"{path_text}:{'' if found else ' sound'}")
            for finding in found:
                typer.echo(f"  {finding.level}: {finding.check}: {finding.where}: {finding.problem}")
        for pair in pairs:
            typer.echo(
                f"nearly the same: {pair.one} and {pair.other} (cosine {pair.cosine:.4f}, norm {pair.times:.3g} times)"
            )
    if any(finding.level == "error" for found in findings.values() for finding in found):
        raise typer.Exit(ConfigurationError.exit_code)


@app.command("fold")
def fold_adapter(
    folder: One,
    out: Out,
    base: BaseFolder = None,
    expert_weights: Annotated[
        str | None, typer.Option("--expert-weights", help="Fixed weights of several B on one A: 0.5,0.5.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Rewrite an adapter as plain LoRA with exactly the same change of the weights."""
    from router.adapters.fold import fold
    from router.adapters.folder import read_adapter

    _print_folded(fold(read_adapter(folder), out, _read_base(base), _numbers(expert_weights)), out, as_json=as_json)


@app.command("truncate")
def truncate_adapter(
    folder: One,
    out: Out,
    rank: Annotated[int, typer.Option("--rank", min=1, help="The largest rank of a module.")],
    base: BaseFolder = None,
    as_json: options.Json = False,
) -> None:
    """Cut an adapter to a smaller rank, by the singular values of its change of each weight."""
    from router.adapters.fold import truncate
    from router.adapters.folder import read_adapter

    _print_folded(truncate(read_adapter(folder), out, rank, _read_base(base)), out, as_json=as_json)


def _read_base(folder: Path | None) -> Base | None:
    from router.adapters.base import read_base

    return None if folder is None else read_base(folder)


def _numbers(text: str | None) -> tuple[float, ...] | None:
    try:
        return None if text is None else tuple(float(number) for number in text.split(","))
    except ValueError:
        raise CallerError(f"--expert-weights: {text} are no numbers with commas between them") from None


def _print_import(facts: Imported) -> None:
    from router.adapters.back_ends import NAMES

    shape = "" if facts.rank is None else f", rank {facts.rank}"
    shape += f" (modules: {', '.join(map(str, facts.ranks))})" if facts.ranks else ""
    shape += "" if facts.alpha is None else f", alpha {facts.alpha:g}"
    variants = [word for word, is_so in (("rsLoRA", facts.use_rslora), ("DoRA", facts.use_dora)) if is_so]
    kind = " ".join((facts.peft_type, *(f"with {word}" for word in variants)))
    typer.echo(f"{facts.id}: {kind}{shape}, {facts.parameters:,} parameters, {facts.dtype or 'no weights'}")
    revision = f" at {facts.revision}" if facts.revision else ""
    typer.echo(f"  base: {facts.base_model or 'not stated'}{revision}")
    if facts.targets:
        typer.echo(f"  targets: {', '.join(facts.targets)}")
    typer.echo(f"  servable: {facts.verdict.servable}")
    if facts.verdict.why is not None:
        typer.echo(f"    {facts.verdict.why}")
        return
    for name in NAMES:
        typer.echo(f"    {name}: {facts.verdict.reasons[name] or 'yes'}")
    for hint in facts.verdict.hints:
        typer.echo(f"    {hint}")


def _write_card(
    out: Path,
    facts: Imported,
    existing: list[Card],
    base_card: str | None,
    provider: str | None,
    *,
    taken: list[str],
    overwrite: bool,
) -> str:
    """Write the card of one adapter, and that of its base where there is none. Returns a line for the user."""
    from router.adapters import cards as adapter_cards
    from router.cards.catalog import load_card

    base = base_card
    if base is None and facts.base_model is not None:
        base = adapter_cards.base_card_id(facts.base_model, existing, taken)
    if base is None:
        return "  no card: base_model_name_or_path is not stated; give --base-card ID"
    file = out / f"{facts.id}.yaml"
    if not file.exists() and any(facts.id in card.names for card in existing):
        return f"  no card: another card in {out} is named {facts.id}; rename the folder or that card"
    if file.exists() and not overwrite:
        return f"  {file}: already exists (--overwrite replaces it)"
    known = next((card for card in existing if card.id == base), None)
    if known is None and base_card is not None and facts.base_model is None:
        raise CallerError(f"--base-card: there is no card {base_card} in {out}")
    if known is not None and known.kind == "adapter":
        raise CallerError(f"--base-card: {base} is an adapter, and a base must be a model")
    used = provider or (known.provider if known is not None else "hosted_vllm")
    note = f"  {file}: card {facts.id}, base {base}"
    # First the base's, since an adapter's card without it would break the folder.
    if known is None and facts.base_model is not None:
        written = adapter_cards.write_base_card(out, base, facts.base_model, used)
        if written is not None:
            note += f"\n  {written}: card {base}, which has only a name: add its base_url"
            existing.append(load_card(written))
    existing.append(adapter_cards.write_card(file, facts, adapter_cards.card_facts(facts, base, used)))
    return note


def _print_folded(folded: Folded, out: Path, *, as_json: bool) -> None:
    if as_json:
        options.print_json(folded)
        return
    typer.echo(
        f"{out}: plain LoRA of rank {folded.rank}, {folded.parameters_before:,} -> {folded.parameters:,} values, "
        f"{folded.bytes_before:,} -> {folded.bytes:,} bytes"
    )
    if folded.least_kept < 1:
        typer.echo(
            f"kept energy: {folded.kept_energy:.2%} in all, at least {folded.least_kept:.2%} "
            f"({folded.least_kept_module})"
        )
    else:
        typer.echo(f"largest difference on random inputs: {folded.difference:.1e} of the largest output")
