"""`claude-batch estimate`: what prompts will take: tokens, cost, time."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from claude_batch.cli import options as opt

if TYPE_CHECKING:
    from claude_batch.config.settings import Settings

_ADVISED = {"deadline"}
"""What the recommendation itself decides."""


def estimate(
    prompts: opt.ManyPrompts,
    given: opt.Given,
    expect_output: Annotated[
        int | None,
        typer.Option(
            "--expect-output",
            min=0,
            metavar="N",
            help="Average tokens per answer, thinking included.",
        ),
    ] = None,
    sample: Annotated[
        int,
        typer.Option("--sample", min=0, metavar="N", help="Count N lines exactly; free."),
    ] = 0,
    compare: Annotated[
        str | None,
        typer.Option("--compare", metavar="ID,ID", help="Compare the price with these models."),
    ] = None,
    learn: Annotated[
        bool,
        typer.Option("--learn", help="Measure the limits with one cheap request per model class."),
    ] = False,
    as_json: opt.Json = False,
) -> None:
    """Show what files of prompts will take: tokens, cost, time; and what would be cheapest.

    Sends nothing, but for --sample (free) and --learn. Without --expect-output
    answers are taken to be like those in the results file beside it, else to be
    a quarter of their max_tokens long, 256 tokens at least. --sandbox plans for
    the limits of the sandbox. The last line is the command to run.

    --json: {"prompts", "files", "requests", "input_tokens", "output_tokens",
    "output_basis" (stated, sampled, guessed), "counted_lines", "models":
    [{"model", "requests", "input_tokens", "input_low", "input_high",
    "output_tokens", "live", "batch", "fast" (requests in fast mode)}],
    "cost": {"live", "batch", "live_cached", "batch_cached", "input_tokens",
    "fast"}, "at_most": {"output_tokens", "live",
    "batch"} (USD, if answers use all of their max_tokens), "live": [{"limits",
    "current", "seconds", "binds", "cached_seconds", "cached_binds",
    "over_monthly_cap"}], "batch": {"usual_seconds", "worst_seconds"},
    "compared": {model: like "cost"},
    "routed": [{"route", "model", "requests"}], "prices_as_of", "notes",
    "recommendation", "whole" (with --limit: the whole file's {"requests",
    "input_tokens", "output_tokens", "live_usd", "batch_usd", "seconds"})}; a
    cost is {"usd", "low", "high"}, null where the price is not known.
    """
    settings = opt.settings_from(given)
    options = settings.options
    from claude_batch.commands.estimate import (  # noqa: PLC0415  # only when really run
        EstimateRequest,
        estimate,
    )

    estimate(
        EstimateRequest(
            inputs=prompts,
            settings=settings,
            expect_output=expect_output,
            sample=sample,
            compare=tuple(filter(None, (compare or "").replace(" ", "").split(","))),
            learn=learn or options.uses_sandbox,
            sandbox=options.uses_sandbox,
            scenario=options.scenario,
            run_command=_run_command(prompts, settings),
            as_json=as_json,
        )
    )


def _run_command(prompts: Sequence[str], settings: Settings) -> str:
    """Return the `run` of these prompts with the options typed; the advice sets the deadline."""
    from claude_batch.commands.inputs import results_of  # noqa: PLC0415  # only when really run
    from claude_batch.config.options import OPTIONS  # noqa: PLC0415  # only when really run
    from claude_batch.config.spelling import as_typed  # noqa: PLC0415  # only when really run

    taken = [
        as_typed(name, getattr(settings.options, name))
        for name in OPTIONS
        if name in settings.typed and name not in _ADVISED
    ]
    return " ".join(["claude-batch run", *map(shlex.quote, prompts), *taken, *results_of(prompts)])
