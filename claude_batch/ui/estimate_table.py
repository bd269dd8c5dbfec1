"""What a file of prompts will take: tokens and money by model, time by limits, and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from claude_batch.core.duration import duration
from claude_batch.core.plan import LiveOption, Plan
from claude_batch.core.plan_cost import Costs, ModelCost, Money
from claude_batch.core.recommendation import dollars
from claude_batch.core.workload import OutputBasis
from claude_batch.ui.figures import count, short
from claude_batch.ui.printable import printable
from claude_batch.ui.tables import cell, plain_table

_BASES = {
    OutputBasis.STATED: "as stated",
    OutputBasis.SAMPLED: "as in the replies that are there",
    OutputBasis.BOUND: "all that max_tokens allow: it can only be less (--expect-output N)",
}
_SAME = 0.005
"""Below this difference two amounts are one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimated:
    """What `estimate` says.

    `counted` are lines that were counted exactly, `compared` the costs if all lines went to one
    model, `routed` pairs a rule and a model with requests, `notes` is what to know besides.
    """

    prompts: str
    plan: Plan
    recommendation: str
    counted: int = 0
    compared: Mapping[str, Costs]
    routed: Sequence[tuple[str, str, int]] = ()
    notes: Sequence[str] = ()


def estimate_table(found: Estimated) -> RenderableType:
    """Return it all as a page."""
    return Group(*_parts(found))


def _parts(found: Estimated) -> Iterator[RenderableType]:
    plan = found.plan
    yield Text.assemble((printable(found.prompts), "bold"), f"  {count(plan.requests)} requests")
    yield Text(f"input: {_input(plan.costs.models, found.counted)}")
    yield Text(f"output: {short(plan.output_tokens)} tokens, {_BASES[plan.output_basis]}")
    yield Text()
    yield _models(plan.costs)
    yield Text()
    yield _ways(plan)
    if found.compared:
        yield Text()
        yield _compared(found.compared)
    if found.routed:
        yield Text()
        yield _routed(found.routed)
    yield Text()
    yield Text(f"prices as of {plan.prices_as_of}", style="dim")
    for note in (*plan.notes, *found.notes):
        yield Text.assemble(("note: ", "yellow"), printable(note))
    yield Text()
    yield Text(printable(found.recommendation), style="bold")


def _input(models: Sequence[ModelCost], counted: int) -> str:
    tokens = sum(model.input_tokens for model in models)
    low, high = sum(m.input_low for m in models), sum(m.input_high for m in models)
    how = (
        f"{count(counted)} lines counted exactly, 95 % confidence"
        if counted
        else "estimated; --sample N counts some exactly, for nothing"
    )
    return f"{short(tokens)} tokens ({short(low)} to {short(high)}; {how})"


def _models(costs: Costs) -> Table:
    table = plain_table("model", ">requests", ">input", ">output", ">live", ">batch")
    for model in costs.models:
        table.add_row(
            cell(model.model),
            count(model.requests),
            short(model.input_tokens),
            short(model.output_tokens),
            dollars(model.live.usd),
            dollars(model.batch.usd),
        )
    if len(costs.models) > 1:
        table.add_row(
            "all",
            count(sum(model.requests for model in costs.models)),
            short(sum(model.input_tokens for model in costs.models)),
            short(sum(model.output_tokens for model in costs.models)),
            dollars(costs.live.usd),
            dollars(costs.batch.usd),
            style="bold",
        )
    return table


def _ways(plan: Plan) -> Table:
    """Return how long each way takes, and what it costs with prompt caching and without."""
    caching = _differs(plan.costs.live, plan.costs.live_cached)
    table = plain_table("way", ">time", "binds", ">cost")
    if caching:
        table.add_column("cached prefix", justify="right", no_wrap=True)
    for option in plan.live:
        table.add_row(*_live(option, plan, caching=caching))
    costs = plan.costs
    cells = ["batch", f"usually {duration(plan.batch.usual_seconds)}", "", dollars(costs.batch.usd)]
    table.add_row(*cells, *([dollars(costs.batch_cached.usd)] if caching else []))
    return table


def _live(option: LiveOption, plan: Plan, *, caching: bool) -> Iterator[RenderableType]:
    now = option.limits == plan.current
    yield Text(f"live {option.limits}", style="bold" if now else "", no_wrap=True)
    yield _time(option.seconds)
    yield option.binds or ""
    yield dollars(plan.costs.live.usd)
    if caching:
        cached, cost = _time(option.cached_seconds), dollars(plan.costs.live_cached.usd)
        yield cost if cached == _time(option.seconds) else f"{cached}, {cost}"


def _time(seconds: float | None) -> str:
    return "not known" if seconds is None else duration(seconds)


def _compared(compared: Mapping[str, Costs]) -> Table:
    table = plain_table("if all went to", ">input", ">live", ">batch")
    for model, costs in compared.items():
        tokens = sum(each.input_tokens for each in costs.models)
        table.add_row(cell(model), short(tokens), dollars(costs.live.usd), dollars(costs.batch.usd))
    return table


def _routed(routed: Sequence[tuple[str, str, int]]) -> Table:
    table = plain_table("route", "model", ">requests")
    for rule, model, requests in routed:
        table.add_row(cell(rule), cell(model), count(requests))
    return table


def _differs(plain: Money, cached: Money) -> bool:
    if plain.usd is None or cached.usd is None:
        return False
    return plain.usd - cached.usd > _SAME * plain.usd
