"""`status`, wired: where runs stand, as a table or as JSON."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import orjson

from claude_batch.compose.telling import shown
from claude_batch.core.model import ResultType
from claude_batch.errors import CheckpointError
from claude_batch.storage.run_index import runs_below
from claude_batch.storage.run_status import RunStatus, run_status
from claude_batch.ui.tables import StatusRow, print_table, status_table


def show_status(results: Path | None, *, as_json: bool) -> None:
    """Print where a run stands, or all runs in and below this folder."""
    if results is None:
        found = [run_status(path) for path in runs_below(Path.cwd())]
        runs = [status for status in found if status is not None]
    else:
        runs = [_one(results)]
    if as_json:
        value: Any = _json(runs[0]) if results is not None else [_json(run) for run in runs]
        sys.stdout.write(orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE).decode())
        return
    if not runs:
        sys.stderr.write("there is no run in or below this folder\n")
        return
    print_table(status_table([_row(run) for run in runs], time.time()), to_stdout=True)


def _one(results: Path) -> RunStatus:
    status = run_status(results.absolute())
    if status is None:
        raise CheckpointError(
            f"{results}: no run has left a journal there",
            hint="claude-batch status, without a name, lists the runs in and below this folder",
        )
    return status


def _row(run: RunStatus) -> StatusRow:
    tally = run.tally
    return StatusRow(
        results=shown(run.results),
        state=run.state.value,
        done=tally.done,
        failed=tally.failed,
        total=run.identity.total,
        last_activity_at=run.last_activity_at,
        mode=run.identity.mode,
        sandbox=run.identity.sandbox,
        cost_usd=tally.cost_usd,
        why=run.why,
    )


def _json(run: RunStatus) -> dict[str, Any]:
    tally, identity = run.tally, run.identity
    return {
        "results": str(run.results),
        "prompts": identity.prompts,
        "run_id": identity.run_id,
        "mode": identity.mode,
        "sandbox": identity.sandbox,
        "state": run.state.value,
        "why": run.why,
        "total": identity.total,
        "done": tally.done,
        **{kind.value: tally.ended[kind] for kind in ResultType},
        "left": identity.total - tally.done,
        "left_out": identity.invalid,
        "input_tokens": tally.input_tokens,
        "output_tokens": tally.output_tokens,
        "cost_usd": tally.cost_usd,
        "started_at": identity.started_at,
        "last_activity_at": run.last_activity_at,
    }
