"""`claude-batch batches`: list, show, cancel Message Batches."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from claude_batch.cli import options as opt


def batches(
    action: Annotated[
        Literal["list", "show", "cancel"],
        typer.Argument(metavar="ACTION", help="List the newest, show one, or cancel."),
    ],
    given: opt.Given,
    batch_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="The batch to show or cancel.")
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            "--run",
            metavar="RESULTS",
            help="Cancel all batches of this run: its results or table, or its run folder.",
        ),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="List at most N.")] = 20,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Cancel without asking.")] = False,
    as_json: opt.Json = False,
) -> None:
    """List, show, or cancel Message Batches.

    Cancel keeps what has succeeded by then. What was canceled is final for
    its run: resume does not send it again, --retry-errored does.

    --json: {"id", "endpoint", "state" (in_progress, canceling, ended),
    "requests" (null where a server does not say), "counts" ({"processing",
    "succeeded", "errored", "canceled", "expired"}; null until the batch has
    ended: the API reports none before), "created_at", "expires_at", "ended_at",
    "has_results", "run" (its results file, or folder and shard; null when
    unknown)}; list and cancel
    print an array of these.
    """
    opt.refuse_sandbox("batches")
    settings = opt.settings_from(given)
    from claude_batch.commands.account.batches import (  # noqa: PLC0415  # only when really run
        BatchesRequest,
        manage_batches,
    )

    request = BatchesRequest(
        action=action,
        batch_id=batch_id,
        run=run,
        limit=limit,
        settings=settings,
        as_json=as_json,
        yes=yes,
    )
    manage_batches(request)
