"""The commands by name. A command's module is imported only when that command is called."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from claude_batch import __version__
from claude_batch.cli.exits import reported
from claude_batch.core.model.typos import did_you_mean
from claude_batch.errors import UsageError

COMMANDS = {
    "run": "Start or resume a run.",
    "resume": "Resume an interrupted run.",
    "status": "Show the state of runs.",
    "adjust": "Change limits of a run while it goes, or pause it.",
    "results": "Print the results of a run.",
    "report": "Write a run as one HTML page.",
    "check": "Validate files of prompts; send nothing.",
    "estimate": "Estimate tokens, cost and time for a file.",
    "limits": "Show the rate limits of each endpoint, and what is left of them.",
    "batches": "List, show, or cancel Message Batches.",
    "models": "List models, prices and retirement dates.",
    "doctor": "Check settings, credentials, endpoints and cache.",
    "cache": "Show the response cache, or delete answers from it.",
    "init": "Write a commented claude-batch.toml.",
    "sandbox": "Serve a simulated Claude API on a loopback port.",
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
        from claude_batch.cli.options import make_command  # noqa: PLC0415  # not for --help

        function = getattr(import_module(f"claude_batch.cli.{cmd_name}"), cmd_name)
        return make_command(cmd_name, function)

    def get_params(self, ctx: typer.Context) -> list[Any]:  # type: ignore[override]  # its base is private
        """Return the options before the command; those of Typer's own get a default.

        Without one their value is parsed by pydantic, which takes 0.1 s to load.
        """
        parameters = super().get_params(ctx)
        for each in parameters:
            each.default = each.default or False
        return list(parameters)

    def resolve_command(self, ctx: typer.Context, args: list[str]) -> Any:  # type: ignore[override]  # its base is private
        """Find the command, or name the nearest one."""
        if args and args[0] not in COMMANDS:
            raise UsageError(
                f"there is no command {args[0]!r}",
                hint=did_you_mean(args[0], COMMANDS) or "claude-batch --help lists them",
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]  # its base is private
        """Write the list of commands from the table above."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Read the flags before the command; report what is wrong with them like the rest."""
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

    Stop it, crash it, pull the plug: the same command continues where it was.
    """
