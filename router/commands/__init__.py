"""The `route` command. Each command imports what it needs when it runs, so that `route --help` answers at once."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from router import __version__, settings
from router.errors import CallerError, ConfigurationError, PulvinarError, did_you_mean


class PromptFirst(TyperGroup):
    """Takes anything that is no command for a prompt: `route "What is 17 × 23?"`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `prompt` in front where no command stands there."""
        own = {"--help", "-h", "--version", "--install-completion", "--show-completion"}
        piped = not args and sys.stdin is not None and not sys.stdin.isatty()
        if piped or (args and args[0] not in self.commands and args[0] not in own):
            self._check_spelling(args)
            args = ["prompt", *args]
        return super().parse_args(ctx, args)

    def _check_spelling(self, args: list[str]) -> None:
        """A bare word that is nearly a command, or two bare words, are more likely a slip than a prompt."""
        if not args[0].isalpha():
            return
        hint = did_you_mean(args[0], self.commands)
        if len(args) > 1 and not args[1].startswith("-"):
            raise CallerError(f'there is no command "{args[0]}"{hint} (a prompt of several words goes in quotes)')
        if hint and len(args[0]) > _SHORT_WORD:
            raise CallerError(f'there is no command "{args[0]}"{hint} (as a prompt: route prompt {args[0]})')


_SHORT_WORD = 3
HELP = (
    'Sends each prompt to the model or adapter that is best for it: route "your prompt"\n\n'
    "Quote flags, or the shell takes < for a redirection: --flags 'size<7B'. "
    "Unquoted forms: size.lt=7B, size..7B, cheapest=0.5."
)


def build() -> typer.Typer:
    """The whole command line."""
    from router.commands import (
        cards,
        doctor,
        gateway,
        init,
        keys,
        learn,
        onboard,
        pareto,
        policies,
        prompt,
        records,
        savings,
        serve,
    )

    app = typer.Typer(
        cls=PromptFirst,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
        help=HELP,
    )
    app.callback()(_root)
    own = prompt, cards, policies, init, doctor, pareto, serve, gateway, keys, records, savings, learn, onboard
    for module in own:
        module.register(app)
    return app


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. The exit code says whose fault a failure is; see `router.errors`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that lacks ± or λ shows a question mark instead.
            stream.reconfigure(errors="replace")
    try:
        build()(arguments, prog_name=Path(sys.argv[0]).name if arguments is None else "route")
    except PulvinarError as error:
        _end(str(error), error.exit_code)
    except BrokenPipeError:
        # Whoever read our output has had enough; nothing may be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _end(f"{where}{error.strerror or error}", ConfigurationError.exit_code)
    # The outermost edge: whatever it was, nobody should have to read a traceback.
    except Exception as error:
        if settings.debugging():
            raise
        _end(f"a fault of ours: {type(error).__name__}: {error} (PULVINAR_DEBUG=1 shows where)", 1)


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
