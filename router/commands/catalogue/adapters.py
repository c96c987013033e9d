"""`route adapters`: import adapter folders as cards, check them, rewrite them as plain LoRA."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from router.commands import options
from router.commands.catalogue import imported, resident
from router.errors import CallerError, ConfigurationError

if TYPE_CHECKING:
    from router.adapters.base import Base
    from router.adapters.fold import Folded

app = typer.Typer(
    help="Import adapter folders as cards, check them, rewrite them as plain LoRA; see and change what servers hold.",
    no_args_is_help=True,
)

Folder = Annotated[Path, typer.Argument(help="Folder of one adapter in PEFT's format, or of many.")]
One = Annotated[Path, typer.Argument(help="Folder of one adapter in PEFT's format.")]
Out = Annotated[Path, typer.Argument(help="New folder for the plain LoRA.")]
NewFolder = Annotated[Path, typer.Argument(help="New folder.")]
BaseFolder = Annotated[
    Path | None, typer.Option("--base", help="Folder of the base model: its config.json, and its weights if any.")
]

ExpertWeights = Annotated[
    str | None, typer.Option("--expert-weights", help="Fixed weights of several B on one A: 0.5,0.5.")
]


class Format(StrEnum):
    """What `convert` writes."""

    GGUF = "gguf"


class Precision(StrEnum):
    """The values of a GGUF file."""

    F32 = "f32"
    F16 = "f16"


def register(parent: typer.Typer) -> None:
    """Add the command group."""
    imported.register(app)
    resident.register(app)
    parent.add_typer(app, name="adapters")


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
    expert_weights: ExpertWeights = None,
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
    prefix: Annotated[
        bool, typer.Option("--prefix", help="Keep the first ranks, of an adapter trained for that (DyLoRA).")
    ] = False,
    base: BaseFolder = None,
    as_json: options.Json = False,
) -> None:
    """Cut an adapter to a smaller rank, by the singular values of its change of each weight."""
    from router.adapters.fold import truncate
    from router.adapters.folder import read_adapter

    cut = truncate(read_adapter(folder), out, rank, _read_base(base), prefix=prefix)
    _print_folded(cut, out, as_json=as_json)


@app.command("interference")
def show_interference(
    folders: Annotated[list[Path], typer.Argument(help="Two or more folders of one adapter each.")],
    base: BaseFolder = None,
    as_json: options.Json = False,
) -> None:
    """Whether adapters can be added up in one request: how much their changes are the same. Too much is exit code 3."""
    from itertools import combinations

    from router.adapters.folder import read_adapter
    from router.adapters.similar import MOST_INTERFERENCE, interference

    if len(folders) < 2:
        raise CallerError("interference needs two adapters or more")
    model, adapters = _read_base(base), [read_adapter(folder) for folder in folders]
    pairs = [interference(one, other, model) for one, other in combinations(adapters, 2)]
    if as_json:
        options.print_json(pairs)
    else:
        for pair in pairs:
            verdict = f"beyond {MOST_INTERFERENCE:g}: do not add them up" if pair.is_beyond else "can be added up"
            where = "" if pair.module is None else f", largest {pair.largest:+.3f} ({pair.module})"
            typer.echo(f"{pair.one} and {pair.other}: {verdict}")
            typer.echo(
                f"  cosine of their changes: {pair.cosine:+.3f}{where}; {pair.shared} of {pair.modules} modules shared"
            )
            typer.echo(
                f"  norm of the sum: {pair.sum_norm:.3f} times that of independent changes; the second changes "
                f"{pair.times:.3g} times as much as the first"
            )
    if any(pair.is_beyond for pair in pairs):
        raise typer.Exit(ConfigurationError.exit_code)


@app.command("quantise")
def quantise_adapter(
    folder: One,
    out: NewFolder,
    bits: Annotated[int, typer.Option("--bits", help="Bits a value: 8, 4, 2 or 1.")] = 4,
    as_json: options.Json = False,
) -> None:
    """Store an adapter with few bits a value; `restore`, `fold` and `convert` read it."""
    from router.adapters.folder import read_adapter
    from router.adapters.formats.cold import quantise
    from router.adapters.formats.packed import ALL_BITS

    chosen = next((each for each in ALL_BITS if each == bits), None)
    if chosen is None:
        raise CallerError(f"--bits: must be 8, 4, 2 or 1, not {bits}")
    stored = quantise(read_adapter(folder), out, chosen)
    if as_json:
        options.print_json(stored)
        return
    typer.echo(
        f"{out}: {stored.bits} bits a value, {stored.bytes_before:,} -> {stored.bytes:,} bytes, of which "
        f"{stored.header_bytes:,} are names; the values lost {stored.error:.2%} of their norm"
    )


@app.command("restore")
def restore_adapter(folder: One, out: NewFolder) -> None:
    """Write a quantised adapter with float32 values, of the type that it had."""
    from router.adapters.folder import read_adapter
    from router.adapters.formats.cold import restore

    typer.echo(f"{out}: {restore(read_adapter(folder), out):,} bytes")


@app.command("convert")
def convert_adapter(
    folder: Folder,
    out: Annotated[Path, typer.Argument(help="New GGUF file; of many adapters, a folder for theirs.")],
    to: Annotated[Format, typer.Option("--to", help="Format to write.")] = Format.GGUF,
    base: Annotated[
        Path | None,
        typer.Option(
            "--base",
            help="The base model: a folder with its config.json, or its GGUF file.",
            show_default="the folder that the adapter names",
        ),
    ] = None,
    precision: Annotated[Precision, typer.Option("--precision", help="Of the values.")] = Precision.F32,
    expert_weights: ExpertWeights = None,
    as_json: options.Json = False,
) -> None:
    """Write an adapter, or many, for llama.cpp's servers, folded to plain LoRA where it is of another kind."""
    from router.adapters.cards import card_ids
    from router.adapters.folder import adapter_folders, read_adapter
    from router.adapters.formats.to_gguf import Converted, base_of, convert

    found = adapter_folders(folder)
    is_one, stated = found == [folder], _read_base(base)
    files = (
        {found[0]: out} if is_one else {path: out / f"{name}.gguf" for path, name in card_ids(found, folder).items()}
    )
    made: dict[str, Converted] = {}
    problems = []
    for path, file in files.items():
        if not is_one and file.exists():
            typer.echo(f"{file}: already exists", err=as_json)
            continue
        try:
            adapter = read_adapter(path)
            one = convert(adapter, file, stated or base_of(adapter), precision.value, _numbers(expert_weights))
        except ConfigurationError as error:
            if is_one:
                raise
            problems.append(str(error))
            continue
        made[str(file)] = one
        if not as_json:
            typer.echo(
                f"{file}: {one.architecture}, rank {one.rank}, alpha {one.alpha:g}, {one.tensors} tensors, "
                f"{one.bytes:,} bytes"
            )
    if as_json:
        options.print_json(next(iter(made.values())) if is_one else made)
    for problem in problems:
        typer.echo(f"route: {problem}", err=True)
    if problems:
        raise typer.Exit(ConfigurationError.exit_code)


def _read_base(folder: Path | None) -> Base | None:
    from router.adapters.base import read_base

    return None if folder is None else read_base(folder)


def _numbers(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        numbers = tuple(float(number) for number in text.split(","))
    except ValueError:
        numbers = (math.nan,)
    if not all(map(math.isfinite, numbers)):
        raise CallerError(f"--expert-weights: {text} are no numbers with commas between them")
    return numbers


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
