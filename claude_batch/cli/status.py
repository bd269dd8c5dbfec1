"""`claude-batch status`: where runs stand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from claude_batch.cli import options as opt
from claude_batch.errors import UsageError


def status(
    results: Annotated[
        str | None,
        typer.Argument(
            metavar="RESULTS",
            help="A results file, a table, or a run folder; default: all in or below here.",
        ),
    ] = None,
    history: Annotated[
        bool,
        typer.Option("--history", help="A run minute by minute. Default: the one active last."),
    ] = False,
    as_json: opt.Json = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="The dashboard of a run in another terminal.")
    ] = False,
) -> None:
    """Show where runs stand. Takes no lock and changes nothing."""
    from claude_batch.commands.find_run import last_active  # noqa: PLC0415  # only when really run
    from claude_batch.commands.inputs import is_of_folder  # noqa: PLC0415  # as below
    from claude_batch.commands.runs.history import show_history  # noqa: PLC0415  # as below
    from claude_batch.commands.runs.status import show_status  # noqa: PLC0415  # only when really run
    from claude_batch.commands.table import checkpoint_of  # noqa: PLC0415  # as above

    if watch:
        from claude_batch.commands.folder.watch import watch_folder  # noqa: PLC0415  # as above
        from claude_batch.commands.runs.watch import watch as follow  # noqa: PLC0415  # as above

        if as_json or history:
            raise UsageError(
                "--watch shows a dashboard", hint="leave out --json and --history, or --watch"
            )
        if is_of_folder(results := results or str(last_active())):
            watch_folder(results)
            return
        follow(checkpoint_of(Path(results)))
        return
    if history:
        results = results or str(last_active())
    if results is not None and is_of_folder(results):
        from claude_batch.commands.folder.show import show_folder_status  # noqa: PLC0415  # as above
        from claude_batch.commands.folder.watch import show_folder_history  # noqa: PLC0415  # as above

        show_folder = show_folder_history if history else show_folder_status
        show_folder(results, as_json=as_json)
        return
    checkpoint = checkpoint_of(Path(results)) if results else None
    if history and checkpoint is not None:
        show_history(checkpoint, as_json=as_json)
        return
    show_status(checkpoint, as_json=as_json)
