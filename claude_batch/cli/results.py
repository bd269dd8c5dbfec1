"""`claude-batch results`: print the results of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from claude_batch.cli import options as opt
from claude_batch.core.model.requests import ResultType


def results(
    given: opt.Given,
    results: Annotated[
        str | None,
        typer.Argument(
            metavar="RESULTS",
            help="A results file, a table, or a run folder; default: the run in or below this "
            "folder that was active last.",
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "-o", "--out", metavar="FILE", help="Write FILE: .csv, .tsv, .parquet, .xlsx or .jsonl."
        ),
    ] = None,
    format_: Annotated[
        Literal["full", "text"],
        typer.Option("--format", metavar="full|text", help="Whole lines, or id and text."),
    ] = "full",
    ordered: Annotated[
        bool, typer.Option("--ordered", help="In the order of the prompts.")
    ] = False,
    only: Annotated[
        list[ResultType] | None,
        typer.Option(
            "--only", metavar="TYPE", help="succeeded|errored|canceled|expired; may be repeated."
        ),
    ] = None,
) -> None:
    r"""Print the results of a run, or write them as a table.

    Takes no lock and leaves results as they are: a run may go on meanwhile.

    \b
    Examples:
      claude-batch results prompts.results.jsonl --format text
      claude-batch results labeled.csv -o again.xlsx
    """
    from claude_batch.commands.inputs import (  # noqa: PLC0415  # only when really run
        file_to_write,
        is_of_folder,
    )
    from claude_batch.commands.results import (  # noqa: PLC0415  # as above
        ResultsOrder,
        last_results,
        show_results,
    )

    results = results or last_results()
    order = ResultsOrder(
        results=Path(results),
        out=file_to_write(out, "results.csv"),
        given=given,
        form=format_,
        ordered=ordered,
        only=frozenset(only or ResultType),
    )
    if is_of_folder(results):
        from claude_batch.commands.folder.show import show_folder_results  # noqa: PLC0415  # as above

        show_folder_results(results, order)
        return
    show_results(order)
