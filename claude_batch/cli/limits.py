"""`claude-batch limits`: what each endpoint allows now, and the headroom."""

from __future__ import annotations

from typing import Annotated

import typer

from claude_batch.cli import options as opt


def limits(
    given: opt.Given,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", metavar="ID", help="Whose limits; may be repeated [those of the settings]."
        ),
    ] = None,
    as_json: opt.Json = False,
) -> None:
    """Show what each endpoint allows now, and how much of it is left.

    Sends one request of a few tokens per model class and endpoint; with an
    Admin API key it reads what is configured instead, and sends none.

    --json: {"limits": [{"endpoint", "lane", "limit" (requests, input_tokens,
    output_tokens), "per_minute", "remaining", "full_in_s"}], "problems":
    [{"endpoint", "model", "error", "hint"}], "sharing": [{"endpoint", "lane",
    "programs": [{"name", "share"}]}]}; null where it is not reported.
    """
    settings = opt.settings_from(given)
    from claude_batch.commands.account.limits import (  # noqa: PLC0415  # only when really run
        LimitsRequest,
        show_limits,
    )

    request = LimitsRequest(
        settings=settings,
        models=tuple(model or ()),
        sandbox=settings.options.uses_sandbox,
        scenario=settings.options.scenario,
        as_json=as_json,
    )
    raise typer.Exit(show_limits(request))
