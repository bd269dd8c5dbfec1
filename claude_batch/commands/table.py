"""Tables of runs: which checkpoint belongs to one, what is asked for, and which rows it shows."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from claude_batch.commands.schema import property_columns
from claude_batch.config.options import Options
from claude_batch.core.model.answers import ANSWER
from claude_batch.core.model.typos import nearest
from claude_batch.errors import UsageError
from claude_batch.storage.files import beside
from claude_batch.storage.run.journal import journal_path
from claude_batch.storage.run.table import TABLE_RESULTS, InputRows, TableRequest
from claude_batch.storage.tables.writing import CSV, EXTENSIONS, is_table

_OTHER_KINDS = {
    *(".excel", ".ods", ".feather", ".arrow", ".pq", ".tab", ".gz", ".zst", ".zip"),
    *(".docx", ".doc", ".odt", ".rtf", ".pdf", ".html"),
}
"""Extensions of files that somebody may expect, and that are not written."""


def checkpoint_of(path: Path) -> Path:
    """Return the results file that is meant: a table's path stands for the one beside it."""
    results = beside(path, TABLE_RESULTS)
    there = is_table(path) and (results.exists() or journal_path(results).exists())
    return results if there else path


def refuse_other_kind_of_table(out: Path) -> None:
    """Refuse a name that promises a kind of file which is not written, or a mistyped one."""
    near = nearest(out.suffix[1:], (each[1:] for each in EXTENSIONS), most=1)
    if near and not is_table(out):
        meant = shlex.quote(str(Path(out.name).with_suffix(f".{near[0]}")))
        raise UsageError(
            f"{out.name}: there is no {out.suffix} table", hint=f"did you mean -o {meant}?"
        )
    suffix = out.suffix.lower()
    if suffix == ".json":
        raise UsageError(
            f"{out.name}: .json files are not written: results are lines, each of them JSON",
            hint=f"-o {shlex.quote(str(Path(out.name).with_suffix('.jsonl')))}; or a table: "
            f"{', '.join(EXTENSIONS)}",
        )
    if suffix in _OTHER_KINDS or (suffix.startswith(".xl") and not is_table(out)):
        raise UsageError(
            f"{out.name}: {out.suffix} files are not written",
            hint=f"tables are written as {', '.join(EXTENSIONS)}; for example -o "
            f"{shlex.quote(str(Path(out.name).with_suffix(CSV)))}",
        )


def table_request(
    path: Path, options: Options, schema: str | None, kept: Mapping[str, Any] | None = None
) -> TableRequest:
    """Return the table that is asked for; what `options` leave open is as the run `kept` it.

    `schema` is that of the run's answers.
    """
    kept = kept or {}
    prefix, expand, raw = (
        kept.get(name) if getattr(options, name) is None else getattr(options, name)
        for name in ("answer_column", "expand", "raw")
    )
    return TableRequest(
        path=path,
        prefix=prefix or ANSWER,
        expand=schema is not None if expand is None else expand,
        properties={} if schema is None or expand is False else property_columns(schema),
        raw=bool(raw),
    )


def input_rows(prompts: Path, options: Options) -> InputRows:
    """Return the rows of the prompts of a run with these options; none where they are gone."""
    columns_asked = options.prompt is not None or options.prompt_column is not None
    return InputRows(path=prompts if prompts.exists() else None, columns_asked=columns_asked)


def typed_command() -> str:
    """Return the command as it was typed, to be given again with one option more."""
    name = os.path.basename(sys.argv[0]) or "claude-batch"  # noqa: PTH119  # a name, not a path
    name = "claude-batch" if name.endswith(".py") else name
    return shlex.join([name, *sys.argv[1:]])
