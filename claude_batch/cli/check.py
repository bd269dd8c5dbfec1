"""`claude-batch check`: validate files of prompts; send nothing."""

from __future__ import annotations

from typing import Annotated

import typer

from claude_batch.cli import options as opt


def check(
    prompts: opt.ManyPrompts,
    given: opt.Given,
    show: Annotated[
        int,
        typer.Option("--show", min=0, metavar="N", help="Print N requests as they would be sent."),
    ] = 0,
    as_json: opt.Json = False,
) -> None:
    """Validate files of prompts; send nothing.

    Rows need a prompt: a column called prompt, --prompt-column, or a --prompt
    with {{column}} placeholders.
    """
    settings = opt.settings_from(given)
    from claude_batch.commands.inputs import is_one_run  # noqa: PLC0415  # only when really run

    if not is_one_run(prompts, {}):
        from claude_batch.commands.folder.check import check_inputs  # noqa: PLC0415  # as above

        raise typer.Exit(check_inputs(prompts, settings, show=show, as_json=as_json))
    from claude_batch.commands.check import check_prompts  # noqa: PLC0415  # as above

    raise typer.Exit(check_prompts(prompts[0], settings, show=show, as_json=as_json))
