"""What the options in force mean for this command: from the journal, without effect, used up."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace

from claude_batch.commands.money import Outlook, forecast, look_ahead, most_usd
from claude_batch.commands.run.messages import resume_command
from claude_batch.commands.run.requests import requests_left
from claude_batch.config.declaration import journaled
from claude_batch.config.options import OPTIONS
from claude_batch.config.settings import Settings
from claude_batch.config.spelling import as_typed, flag, spelled
from claude_batch.core.catalog.catalog import Catalog
from claude_batch.core.model.units import dollars
from claude_batch.core.scheduling.decisions import StopKind
from claude_batch.core.scheduling.guards import InputBound
from claude_batch.errors import BoundMetError, BoundTooLowError
from claude_batch.storage.prompts.workload import Expectation
from claude_batch.storage.run.checkpoint import mean_output
from claude_batch.storage.run.opening import OpenRun, RunRequest

_MARGIN = 1.25
"""How much more than foreseen the rest may cost before its bound stops it again."""

_IN_FLIGHT = 3
"""Requests whose highest possible price must fit a bound beside what the rest will likely cost."""


def resumed(settings: Settings, name: str, kept: str = "this run's journal") -> str | None:
    """Return which options are in force only because they were `kept`; None without any.

    The run is called `name`.
    """
    options = settings.options
    named = [name for name in settings.resumed if OPTIONS[name].group]
    if not named:
        return None
    using = ", ".join(spelled(name, getattr(options, name)) for name in named)
    text = f"Using {using} from {kept}; override or unset with none"
    if settings.overruled:
        began = ", ".join(spelled(name, value) for name, value in settings.overruled.items())
        again = " ".join(as_typed(name, value) for name, value in settings.overruled.items())
        text += (
            f". Not {began}: the run began with that, and was adjusted since; to go back: "
            f"claude-batch resume {shlex.quote(name)} {again}"
        )
    return text


def unused(settings: Settings, effect: str) -> Iterator[str]:
    """Yield what was given with this command and has no effect; `effect` says when it has none."""
    for name, place in settings.given.items():
        value = getattr(settings.options, name)
        if OPTIONS[name].effect == effect and value is not None:
            given = spelled(name, value)
            if place != flag(name):  # a variable or a setting; a password in it is not repeated
                shown = journaled(OPTIONS[name].kind, value) if isinstance(value, str) else value
                given = f"{place} = {shown}"
            yield f"{given} has no effect {effect}"


def outlook_of(opened: OpenRun, request: RunRequest, catalog: Catalog) -> Outlook:
    """Return what is left of a run; takes a look at its prompts."""
    expectation = Expectation(mean=mean_output(request.results))
    return look_ahead(requests_left(opened, request), opened.to_do, expectation, catalog)


def enough_usd(outlook: Outlook, opened: OpenRun, bound_usd: float, catalog: Catalog) -> float:
    """Return a --max-cost above `bound_usd` that will do for what is left, in two digits."""
    live, batch = (forecast(outlook, catalog, batch=each) for each in (False, True))
    left = max(1, opened.to_do)
    rest = min(live.most_usd, _MARGIN * live.likely_usd + _IN_FLIGHT * live.most_usd / left)
    if opened.batches.mode is not None:  # a batch reserves what its requests cost at most
        rest = max(rest, batch.most_usd)
    spent = opened.checkpoint.tally.most_spent_usd
    return _rounded_up(max(spent + rest, 1.1 * bound_usd))


def _rounded_up(usd: float) -> float:
    """Return the next number of two digits: 0.0531 is 0.054, 41.2 is 42, 418 is 420."""
    unit = 10.0 ** (math.floor(math.log10(usd)) - 1)
    return float(f"{math.ceil(usd / unit * (1 - 1e-12)) * unit:.2g}")


def refuse_met_bound(
    request: RunRequest, opened: OpenRun, catalog: Catalog, outlook: Callable[[], Outlook]
) -> None:
    """Refuse to continue a run that its --max-cost has stopped without a new one.

    One given with this command counts, whatever it is. Batches at the API are collected all the
    same: they are paid for.
    """
    closed, bound = opened.left, request.options.max_cost
    if closed is None or closed.kind != StopKind.COST or bound is None:
        return
    is_new = "max_cost" in request.settings.typed or bound > (closed.max_cost_usd or 0.0)
    if is_new or opened.batches.open_chunks:
        return
    enough = enough_usd(outlook(), opened, bound, catalog)
    raise BoundMetError(
        f"this run has reached its --max-cost of {dollars(bound)}: "
        f"{dollars(opened.checkpoint.tally.most_spent_usd)} spent",
        hint=resume_command(request.results, replace(closed, enough_usd=enough)),
        enough_usd=enough,
    )


def refuse_small_bound(
    request: RunRequest,
    opened: OpenRun,
    catalog: Catalog,
    outlook: Callable[[], Outlook],
    *,
    batch: bool,
) -> None:
    """Refuse a --max-cost that does not cover the first request: nothing would be sent.

    Batches at the API are collected all the same.
    """
    bound = request.options.max_cost
    if bound is None or opened.batches.open_chunks:
        return
    first = next(requests_left(opened, request), None)
    if first is None:
        return
    spent = opened.checkpoint.tally.most_spent_usd
    usd = most_usd(first, InputBound().tokens(first), batch=batch, catalog=catalog)
    if spent + usd <= bound:
        return
    enough = enough_usd(outlook(), opened, bound, catalog)
    so_far = f"{dollars(spent)} of it are spent, and " if spent else ""
    raise (BoundMetError if spent else BoundTooLowError)(
        f"--max-cost {bound:.10g} is too low: {so_far}line {first.line} alone can cost "
        f"{dollars(usd)} with its max_tokens of {first.max_tokens:,}; nothing was sent",
        hint=f"--max-cost {enough:.10g} will probably do for the whole run",
        enough_usd=enough,
    )
