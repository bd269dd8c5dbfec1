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
        Path, typer.Argument(metavar="RESULTS", help="The results file of a run, or its table.")
    ],
    pause: Annotated[bool, typer.Option("--pause", help="Send nothing more for now.")] = False,
    continue_: Annotated[bool, typer.Option("--continue", help="End a pause.")] = False,
) -> None:
    r"""Change a run that goes in another terminal, within 2 seconds.

    `none` unsets an option (--rpm none). What is changed stays in force when
    the run is resumed, unless the command that resumes it says something else
    than before. A pause ends with its process. In batch mode it only holds
    back new batches.

    \b
    Examples:
      claude-batch adjust prompts.results.jsonl --rpm 200
      claude-batch adjust labeled.csv --pause
    """
    from claude_batch.commands.runs.adjust import adjust  # noqa: PLC0415  # only when really run
    from claude_batch.commands.table import checkpoint_of  # noqa: PLC0415  # as above

    if pause and continue_:
        raise UsageError("--pause and --continue are both given", hint="leave one of them out")
    wanted = True if pause else False if continue_ else None
    adjust(checkpoint_of(results), given, pause=wanted)
