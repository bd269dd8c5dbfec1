"""The commands by name. A command's module is imported only when that command is called."""

from __future__ import annotations

import difflib
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from claude_batch import __version__
from claude_batch.cli.exits import reported
from claude_batch.errors import UsageError

COMMANDS = {
    "run": "Start, or go on with, a run.",
    "resume": "Go on with an interrupted run.",
    "status": "Show where runs stand.",
    "results": "Print the results of a run.",
    "check": "Validate a file of prompts; send nothing.",
    "estimate": "Tell what a file will take: tokens, cost, time.",
    "limits": "Show what each endpoint allows now, and the headroom.",
    "batches": "List, show, or cancel Message Batches.",
    "models": "List models, prices and retirement dates.",
    "doctor": "Check settings, credentials, endpoints and cache.",
    "cache": "Look into the response cache, or clear it.",
    "init": "Write a commented claude-batch.toml.",
    "sandbox": "Serve the pretend Claude API on a loopback port.",
}


class LazyGroup(TyperGroup):
    """Lists commands without importing them; reports every error in one place."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]  # its base is private
        """Return the commands in the order of a user's day."""
        return list(COMMANDS)

    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]  # its base is private
        """Import a command's module and return the command, or None if there is none."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"claude_batch.cli.{cmd_name}")
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(cmd_name, no_args_is_help=False)(getattr(module, cmd_name))
        return typer.main.get_command(single)

    def resolve_command(self, ctx: typer.Context, args: list[str]) -> Any:  # type: ignore[override]  # its base is private
        """Find the command, or name the nearest one."""
        if args and args[0] not in COMMANDS:
            close = difflib.get_close_matches(args[0], COMMANDS, n=1, cutoff=0.5)
            raise UsageError(
                f"there is no command {args[0]!r}",
                hint=f"did you mean {close[0]!r}?" if close else "claude-batch --help lists them",
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]  # its base is private
        """Write the list of commands from the table above."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Read the flags before the command; what is wrong with them is said like the rest."""
        with reported():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]  # its base is private
        """Run the command; what goes wrong becomes a message and an exit code."""
        with reported():
            return super().invoke(ctx)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"claude-batch {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=LazyGroup,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def claude_batch(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Give it a file of prompts; get every answer from Claude, exactly once.

    Stop it, crash it, pull the plug: the same command goes on where it was.
    """
