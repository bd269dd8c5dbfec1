"""Retries as options: what a command asks for, and what continues one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from claude_batch.commands.run.remedies import changes_against
from claude_batch.config.options import OVERRIDING, RETRYING, Options
from claude_batch.config.reading import typed_options
from claude_batch.config.spelling import as_typed, flag
from claude_batch.core.catalog.catalog import DEFAULT_MAX_TOKENS, Catalog
from claude_batch.core.scheduling.decisions import Stop, StopKind
from claude_batch.errors import UsageError
from claude_batch.storage.prompts.input import can_be_read_again
from claude_batch.storage.prompts.shapes import Overrides
from claude_batch.storage.run.journal import Journal, Retry, read_journal
from claude_batch.storage.run.opening import OpenRun, came_to_nothing


def retries(given: Mapping[str, Any]) -> bool:
    """Return whether the options typed retry anything."""
    return any(given.get(name) for name in RETRYING)


def overrides_of(given: Mapping[str, Any], *, besides: Options | None = None) -> Overrides:
    """Return what a retry sets: the options typed with it, `besides` those that the run has.

    Raises UsageError for a retry whose answers would be cut off again.
    """
    names = [name for name in OVERRIDING if name in given]
    typed = typed_options({name: given[name] for name in names}, {})
    overrides = Overrides(
        **{
            name: getattr(typed, name)
            for name in names
            if besides is None or getattr(typed, name) != getattr(besides, name)
        }
    )
    cut_off = "max_tokens" in given.get("retry_stop", ())
    if cut_off and overrides.max_tokens is None and overrides.model is None:
        raise UsageError(
            "--retry-stop max_tokens: with the same max_tokens the answers are cut off again",
            hint="add --max-tokens N, greater than before",
        )
    return overrides


def set_by(overrides: Overrides) -> list[str]:
    """Return the names of the options that a retry sets."""
    return [name for name in OVERRIDING if getattr(overrides, name)]


def retry_options(retry: Retry) -> str:
    """Return the options that begin a retry again."""
    parts = [flag(f"retry_{name}") for name in ("errored", "degraded") if getattr(retry, name)]
    parts += [f"{flag('retry_stop')} {reason}" for reason in retry.stops]
    return " ".join([*parts, *filter(None, [override_options(retry)])])


def override_options(retry: Retry | Overrides) -> str:
    """Return the options that a retry sets for its requests; "" if there are none."""
    named = [(name, getattr(retry, name)) for name in OVERRIDING]
    return " ".join(as_typed(name, value) for name, value in named if value)


def enough_tokens(opened: OpenRun, stop_reasons: Mapping[str, int]) -> int | None:
    """Return twice the max_tokens that cut answers off; None if none was, or there is no more."""
    if not stop_reasons.get("max_tokens"):
        return None
    retried = None if opened.retry is None else opened.retry.max_tokens
    had = retried or opened.identity.options.max_tokens or DEFAULT_MAX_TOKENS
    return 2 * had if 2 * had <= _MOST_TOKENS else None


_MOST_TOKENS = 64_000
"""What every model that is served can write."""


def options_after(
    stop: Stop, opened: OpenRun, catalog: Catalog, *, is_over: bool, canary: bool
) -> str:
    """Return the options with which a run that stopped continues and does not stop so again.

    "" where there are none. A retry that `is_over` has to be asked for again.
    """
    changes = changes_against(stop.cause, catalog) if stop.cause else {}
    retry = opened.retry
    if stop.kind is StopKind.IDENTICAL_FAILURES and not changes:
        return ""
    if retry is not None and is_over:
        changes["drop"] = (*retry.drop, *changes.get("drop", ()))
        return retry_options(replace(retry, **changes))
    if changes and _may_start_over(opened):
        return override_options(Overrides(**changes))
    return "--no-canary" if stop.cause and stop.kind is StopKind.BATCH and canary else ""


def _may_start_over(opened: OpenRun) -> bool:
    results = Path(opened.identity.results)
    journal = read_journal(results)
    return journal is not None and came_to_nothing(opened.identity.prompts, results, journal)


def started_over(results: Path, journal: Journal) -> str:
    """Return the prompts of a run that may begin again with other options: it came to nothing.

    Raises UsageError for one that has results, or whose prompts cannot be read again.
    """
    prompts = journal.identity.prompts
    if not came_to_nothing(prompts, results, journal):
        if not can_be_read_again(prompts):
            raise UsageError(
                "the prompts of this run came from a pipe: they cannot be checked again with other "
                "options",
                hint="run the command again with these options and --fresh",
            )
        raise UsageError(
            "--model, --max-tokens and --drop change only what is retried: this run has results",
            hint="add --retry-errored for what did not succeed, or --retry-stop REASON for answers "
            "that stopped early; claude-batch run PROMPTS --fresh starts over",
        )
    return prompts
