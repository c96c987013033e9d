"""The `route` command line.

A command's module is imported when the command is used (`router.commands.index`), and imports what it needs when it
runs, so that `route --help` is fast.
"""

from __future__ import annotations

import atexit
import functools
import gc
import io
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from router import __version__, settings
from router.commands.index import COMMANDS, Commands, coerce_directly
from router.errors import CallerError, ConfigurationError, PulvinarError, did_you_mean


class PromptFirst(TyperGroup):
    """A command group that reads a first argument which is not a command as a prompt: `route "What is 17 × 23?"`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert the command `prompt` where the arguments begin with no command."""
        group_options = {"--help", "-h", "--version", "--install-completion", "--show-completion"}
        if args and args[0] not in self.commands and args[0] not in group_options:
            self._check_spelling(args)
            args = ["prompt", *args]
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands without loading them."""
        limit = formatter.width - 6 - max(map(len, COMMANDS))
        shown = [(name, TyperCommand(name, help=summary)) for name, (_, summary) in COMMANDS.items()]
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.get_short_help_str(limit)) for name, command in shown])

    def _check_spelling(self, args: list[str]) -> None:
        """Raise CallerError for a word similar to a command, and for two unquoted words: most likely not a prompt."""
        if not args[0].isalpha():
            return
        hint = did_you_mean(args[0], self.commands)
        if len(args) > 1 and not args[1].startswith("-"):
            raise CallerError(f'there is no command "{args[0]}"{hint} (put a prompt of several words in quotes)')
        if hint and len(args[0]) > _SHORT_WORD:
            raise CallerError(f'there is no command "{args[0]}"{hint} (as a prompt: route prompt {args[0]})')


_SHORT_WORD = 3
_GC_THRESHOLD = 100_000
HELP = (
    'Route each prompt to the model or adapter that is best for it: route "your prompt"\n\n'
    "Put flags in quotes, since a shell reads < as a redirection: --flags 'size<7B'. "
    "Equivalent forms without quotes: size.lt=7B, size..7B, cheapest=0.5."
)


@functools.cache
def command() -> Any:
    """The command line as a command of click. Its commands are loaded when they are looked up."""
    from typer.main import get_command

    # At its end Python searches what is left for cycles, several times.
    atexit.register(gc.freeze)

    app = typer.Typer(
        cls=PromptFirst,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
        help=HELP,
    )
    app.callback()(_root)
    group: Any = get_command(app)
    coerce_directly(group)
    group.commands = Commands()
    return group


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. `router.errors` defines the exit codes."""
    # What is imported stays. Python would search it for cycles hundreds of times before a command begins.
    gc.set_threshold(_GC_THRESHOLD)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show ± or λ shows a question mark instead.
            stream.reconfigure(errors="replace")
    try:
        command()(arguments, prog_name=Path(sys.argv[0]).name if arguments is None else "route")
    except PulvinarError as error:
        _end(str(error), error.exit_code)
    except BrokenPipeError:
        # The reader closed the pipe. Python must not write to it at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _end(f"{where}{error.strerror or error}", ConfigurationError.exit_code)
    # The outermost edge: users see a message, not a traceback.
    except Exception as error:
        if settings.debugging():
            raise
        _end(f"internal error: {type(error).__name__}: {error} (PULVINAR_DEBUG=1 shows the traceback)", 1)


def _end(message: str, exit_code: int) -> NoReturn:
    typer.echo(f"route: {message}", err=True)
    raise SystemExit(exit_code) from None


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pulvinar {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    del version
