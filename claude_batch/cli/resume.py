"""`claude-batch resume`: resume an interrupted run with the options in its journal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from claude_batch.cli import options as opt


def resume(
    given: opt.Given,
    results: Annotated[
        str | None,
        typer.Argument(
            metavar="RESULTS",
            help="A results file, a table, or a run folder; default: the unfinished run in or "
            "below this folder that was active last.",
        ),
    ] = None,
) -> None:
    r"""Resume an interrupted run.

    Its options are in its journal and stay in force: give only what should
    change, or `none` to unset (--rpm none). What shapes the results (prompts,
    model, max_tokens, system) cannot change, except for what is retried.

    \b
    Examples:
      claude-batch resume
      claude-batch resume prompts.results.jsonl --max-cost 50
      claude-batch resume prompts.results.jsonl --retry-errored --model ID
    """
    from claude_batch.commands.find_run import last_unfinished  # noqa: PLC0415  # only when really run
    from claude_batch.commands.inputs import is_of_folder  # noqa: PLC0415  # as above
    from claude_batch.commands.run.run import resume  # noqa: PLC0415  # as above

    results = results or str(last_unfinished())
    if is_of_folder(results):
        from claude_batch.commands.folder.run import resume_folder  # noqa: PLC0415  # as above

        raise typer.Exit(resume_folder(results, given))
    raise typer.Exit(resume(Path(results), given))
