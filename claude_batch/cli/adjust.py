"""`claude-batch adjust`: change a run while it goes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from claude_batch.cli import options as opt
from claude_batch.errors import UsageError


def adjust(
    given: opt.Given,
    results: Annotated[
        str, typer.Argument(metavar="RESULTS", help="A results file, a table, or a run folder.")
    ],
    pause: Annotated[bool, typer.Option("--pause", help="Send nothing more for now.")] = False,
    continue_: Annotated[bool, typer.Option("--continue", help="End a pause.")] = False,
    shard: Annotated[
        int | None,
        typer.Option(
            "--shard",
            metavar="N",
            help="Of a run folder, only the process at work on shard N. Default: all.",
        ),
    ] = None,
) -> None:
    r"""Change a run that goes in another terminal, within 2 seconds.

    `none` unsets an option (--rpm none). What is changed stays in force when
    the run is resumed, unless the command that resumes it says something else
    than before. A pause ends with its process. In batch mode it only holds
    back new batches.

    Of a run folder every process at work is asked, and shards begun later keep
    to it. --max-cost is the bound for all of the folder.

    \b
    Examples:
      claude-batch adjust prompts.results.jsonl --rpm 200
      claude-batch adjust labeled.csv --pause
      claude-batch adjust out/ --max-cost 50
    """
    from claude_batch.commands.inputs import is_of_folder  # noqa: PLC0415  # only when really run
    from claude_batch.commands.runs.adjust import adjust  # noqa: PLC0415  # as above
    from claude_batch.commands.table import checkpoint_of  # noqa: PLC0415  # as above

    if pause and continue_:
        raise UsageError("--pause and --continue are both given", hint="leave one of them out")
    wanted = True if pause else False if continue_ else None
    if is_of_folder(results):
        from claude_batch.commands.folder.adjust import adjust_folder  # noqa: PLC0415  # as above

        adjust_folder(results, given, pause=wanted, shard=shard)
        return
    if shard is not None:
        raise UsageError("--shard is for run folders", hint="leave it out")
    adjust(checkpoint_of(Path(results)), given, pause=wanted)
