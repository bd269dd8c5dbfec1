"""What a file of prompts will take: tokens and money by model, time by limits, and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from claude_batch.core.model.units import dollars, duration
from claude_batch.core.planning.costs import Costs, ModelCost, caching_pays
from claude_batch.core.planning.plan import AtMost, Estimate, LiveOption, RoutedLines, WholeFile
from claude_batch.core.planning.workload import OutputBasis
from claude_batch.ui.figures import count, short
from claude_batch.ui.messages import printable
from claude_batch.ui.plan_words import BASES
from claude_batch.ui.tables.tables import cell, plain_table, stacked


def estimate_table(found: Estimate) -> RenderableType:
    """Return it all as a page."""
    return Group(*_parts(found))


def _parts(found: Estimate) -> Iterator[RenderableType]:
    of = "" if found.whole is None else f" of {count(found.whole.requests)}"
    noun = "request" if found.requests == 1 and not of else "requests"
    files = "" if found.files == 1 else f" in {count(found.files)} files"
    what = f"  {count(found.requests)}{of} {noun}{files}"
    yield Text.assemble((printable(found.prompts), "bold"), what)
    yield Text(f"input: {_input(found.models, found.counted_lines)}")
    yield Text(f"output: {short(found.output_tokens)} tokens, {_output(found.output_basis)}")
    yield Text(f"at most {_most(found.at_most)}, if answers use all of their max_tokens", "dim")
    yield Text()
    yield _models(found)
    yield Text()
    yield _modes(found)
    if found.compared:
        yield Text()
        yield _compared(found.compared)
    if found.routed:
        yield Text()
        yield _routed(found.routed)
    yield Text()
    yield Text(f"prices as of {found.prices_as_of}", style="dim")
    for note in found.notes:
        yield Text.assemble(("note: ", "yellow"), printable(note))
    yield Text()
    if found.whole is not None:
        yield Text(_whole(found.whole))
    yield Text(printable(found.recommendation), style="bold")


def _whole(file: WholeFile) -> str:
    """Return what the file will take without --limit."""
    took = "" if file.seconds is None else f", {duration(file.seconds)}"
    text = f"The whole file, {count(file.requests)} requests: "
    text += f"{dollars(file.live_usd)} live{took}" if file.live_usd is not None else "price unknown"
    return text + ("" if file.batch_usd is None else f"; {dollars(file.batch_usd)} as batch")


def _output(basis: OutputBasis) -> str:
    hint = " (better: --expect-output N)" if basis is OutputBasis.GUESSED else ""
    return f"{BASES[basis]}{hint}"


def _most(most: AtMost) -> str:
    """Return how much all answers can be together, and what that would cost."""
    parts = [f"{short(most.output_tokens)} tokens"]
    parts += [] if most.live is None else [f"{dollars(most.live)} live"]
    parts += [] if most.batch is None else [f"{dollars(most.batch)} as a batch"]
    return ", ".join(parts)


def _batch(usd: float | None, fast: int) -> str:
    """Return the price of a batch; there is none of lines that it would refuse."""
    return "not for fast mode" if fast else dollars(usd)


def _input(models: Sequence[ModelCost], counted: int) -> str:
    tokens = sum(model.input_tokens for model in models)
    low, high = sum(m.input_low for m in models), sum(m.input_high for m in models)
    how = (
        f"{count(counted)} lines counted exactly, 95 % confidence"
        if counted
        else "estimated; --sample N counts some exactly, free of charge"
    )
    return f"{short(tokens)} tokens ({short(low)} to {short(high)}; {how})"


def _models(found: Estimate) -> RenderableType:
    table = plain_table("model", ">requests", ">input", ">output", ">live", ">batch")
    for model in found.models:
        table.add_row(
            cell(model.model),
            count(model.requests),
            short(model.input_tokens),
            short(model.output_tokens),
            dollars(model.live.usd),
            _batch(model.batch.usd, model.fast),
        )
    if len(found.models) > 1:
        table.add_row(
            "all",
            count(found.requests),
            short(found.input_tokens),
            short(found.output_tokens),
            dollars(found.cost.live.usd),
            _batch(found.cost.batch.usd, found.cost.fast),
            style="bold",
        )
    return stacked(table)


def _modes(found: Estimate) -> RenderableType:
    """Return how long each mode takes, and what it costs with prompt caching and without."""
    cost = found.cost
    caching = caching_pays(cost.live, cost.live_cached)
    table = plain_table("mode", ">time", "limited by", ">cost")
    if caching:
        table.add_column("cached prefix", justify="right", no_wrap=True)
    for option in found.live:
        table.add_row(*_live(option, cost, caching=caching))
    usual = f"usually {duration(found.batch.usual_seconds)}"
    batch = (cost.batch, cost.batch_cached) if caching else (cost.batch,)
    table.add_row("batch", usual, "", *(_batch(each.usd, cost.fast) for each in batch))
    return stacked(table)


def _live(option: LiveOption, cost: Costs, *, caching: bool) -> Iterator[RenderableType]:
    style = "bold" if option.current else ""
    yield Text(f"live, {option.limits}", style=style, no_wrap=True)
    yield _time(option.seconds)
    yield option.binds or ""
    yield dollars(cost.live.usd)
    if caching:
        cached, usd = _time(option.cached_seconds), dollars(cost.live_cached.usd)
        yield usd if cached == _time(option.seconds) else f"{cached}, {usd}"


def _time(seconds: float | None) -> str:
    return "not known" if seconds is None else duration(seconds)


def _compared(compared: Mapping[str, Costs]) -> RenderableType:
    table = plain_table("if all went to", ">input", ">live", ">batch")
    for model, costs in compared.items():
        batch = _batch(costs.batch.usd, costs.fast)
        table.add_row(cell(model), short(costs.input_tokens), dollars(costs.live.usd), batch)
    return stacked(table)


def _routed(routed: Sequence[RoutedLines]) -> RenderableType:
    table = plain_table("route", "model", ">requests")
    for each in routed:
        table.add_row(cell(each.route), cell(each.model), count(each.requests))
    return stacked(table)
