"""`claude-batch run`: start or resume a run."""

from __future__ import annotations

import typer

from claude_batch.cli import options as opt


def run(prompts: opt.ManyPrompts, given: opt.Given) -> None:
    r"""Start or resume a run.

    The same command continues an interrupted run. Results are in
    PROMPTS.results.jsonl beside the prompts, and on stdout when it is not a
    terminal.

    \b
    Examples:
      claude-batch run prompts.jsonl --model claude-haiku-5-5 --max-cost 5
      claude-batch run prompts.jsonl --mode batch --detach
      claude-batch run 'in/*.csv' --prompt-column text --out labeled/
    """
    from claude_batch.commands.inputs import is_one_run  # noqa: PLC0415  # only when really run

    if is_one_run(prompts, given):
        from claude_batch.commands.run.run import run  # noqa: PLC0415  # as above

        raise typer.Exit(run(prompts[0], given))
    from claude_batch.commands.folder.run import run_folder  # noqa: PLC0415  # as above

    raise typer.Exit(run_folder(prompts, given))
