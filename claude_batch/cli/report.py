"""`claude-batch report`: a run as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    results: Annotated[
        str, typer.Argument(metavar="RESULTS", help="A results file, a table, or a run folder.")
    ],
    out: Annotated[
        str | None,
        typer.Option("-o", "--out", metavar="FILE", help="[beside RESULTS: NAME.report.html]"),
    ] = None,
) -> None:
    r"""Write a run as one HTML page: what limited it, its plots, a sample of prompts and answers.

    Takes no lock and changes nothing: a run may go on meanwhile. The page loads nothing.

    \b
    Examples:
      claude-batch report prompts.results.jsonl
      claude-batch report labeled.csv -o report.html
    """
    from claude_batch.commands.inputs import (  # noqa: PLC0415  # only when really run
        file_to_write,
        is_of_folder,
    )

    page = file_to_write(out, "report.html")
    if is_of_folder(results):
        from claude_batch.commands.folder.report import write_folder_report  # noqa: PLC0415  # as below

        write_folder_report(results, page)
        return
    from claude_batch.commands.runs.report import write_report  # noqa: PLC0415  # only when really run

    write_report(Path(results), page)
