"""The page: a document of its own, without a request to anywhere, put together from its parts."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator
from importlib.resources import files
from time import localtime, strftime

from claude_batch.core.history.minutes import merged
from claude_batch.core.history.run import Adjustment
from claude_batch.core.model.minutes import Minute
from claude_batch.core.model.units import dollars, duration
from claude_batch.report import bars, charts
from claude_batch.report.bars import Bar
from claude_batch.report.data import ReportData
from claude_batch.report.sample import sample_html
from claude_batch.report.svg import Figure, amount, counted, tag
from claude_batch.report.text import inert
from claude_batch.report.timeline import TimeAxis
from claude_batch.report.words import advice, bound_title, lead, took

_MOST_LANES = 3
"""Lanes that have charts of their own; the others are in the figures of all."""

_NEAR_PERCENT = 50.0
"""A lane with more headroom than this was not near its limits."""

_LIMITED = frozenset({"rate_limited", "ramp_limited"})
_STOPPED = frozenset({"refusal", "max_tokens", "pause_turn", "model_context_window_exceeded"})


def page_html(data: ReportData) -> str:
    """Return the report of a run as one HTML document."""
    style, script = _asset("page.css"), _asset("page.js")
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    title = f"{data.name}: report of a run"
    head = "".join(
        (
            '<meta charset="utf-8">',
            '<meta name="generator" content="claude-batch">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            '<meta name="referrer" content="no-referrer">',
            tag("title", inert(title)),
            f"<style>{style}</style>",
        )
    )
    body = "".join(_body(data))
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body><main>\n{body}\n</main>'
        f'<div id="tip" hidden></div>\n<script>{script}</script>\n</body></html>\n'
    )


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _digest(content: str) -> str:
    """Return what a Content-Security-Policy allows an inline element by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _body(data: ReportData) -> Iterator[str]:
    minutes = data.history.minutes
    axis = TimeAxis.of(data.history)
    total = merged(minutes) if minutes else Minute()
    yield _header(data, total)
    if axis.bins:
        if total.lanes:
            yield _section("What limited it", [charts.bound_strip(axis, data.history)])
        before = max(0, data.figures.done - total.succeeded - total.failed)
        progress = charts.progress(axis, data.total, before)
        endpoints = charts.by_endpoint(axis)
        yield _section("Throughput and limits", [progress, endpoints], _throughput(axis, minutes))
        yield _section("Rate limits", [charts.rate_limited(axis), *_headroom(axis, minutes)])
        yield _section("Latency", [charts.latency(axis), bars.histogram(total.latency)])
    yield _section("Failures and retries", [_failures(total), _errors(data)])
    yield _section("Answers", [_stops(data), _sources(data)])
    yield _section("Cost", [charts.cost(axis) if axis.bins else None, _by_model(data)])
    yield _section("Batches", [bars.batch_lines(data.history.batches, data.at)])
    yield _section("A higher tier", [_tiers(data)])
    yield _section("What happened when", [], _events(data))
    yield _section("Prompts and answers", [], sample_html(data), id_="sample")
    yield _footer(data)


def _section(
    title: str, figures: Iterable[Figure | None], content: str = "", *, id_: str | None = None
) -> str:
    """Return a section; none without content."""
    shown = [figure.html() for figure in figures if figure is not None]
    if not shown and not content:
        return ""
    charts_ = tag("div", "".join(shown), class_="charts") if shown else ""
    return tag("section", tag("h2", inert(title)) + charts_ + content, id_=id_) + "\n"


# the head


def _header(data: ReportData, total: Minute) -> str:
    when = strftime("%a %d %b %Y, %H:%M", localtime(data.at))
    mode = f"{data.mode}, sandbox" if data.sandbox else data.mode
    about = [data.name, mode, data.state, when]
    facts = " · ".join(tag("span", inert(each)) for each in about)
    sentences = [lead(data)]
    if total.attempts and total.lanes:
        sentences.append(f"{bound_title(data.history.minutes)}.")
    parts = [tag("p", facts, class_="about"), tag("h1", inert(sentences[0]))]
    parts += [tag("p", inert(each), class_="second") for each in sentences[1:]]
    if data.state != "finished" and data.sentence:
        parts.append(tag("p", inert(data.sentence), class_="state"))
    if data.next_command:
        parts.append(tag("p", "next: " + tag("code", inert(data.next_command)), class_="state"))
    better = [tag("li", inert(each)) for each in advice(data)]
    if better:
        parts.append(tag("ul", "".join(better), class_="advice"))
    parts.append(tag("dl", "".join(_facts(data, total)), class_="facts"))
    if data.total and data.figures.done < data.total:
        done = f"{100 * data.figures.done / data.total:.1f}"
        parts.append(f'<progress max="100" value="{done}">{done} %</progress>')
    return tag("header", "".join(parts), class_="top") + "\n"


def _facts(data: ReportData, total: Minute) -> Iterator[str]:
    figures = data.figures
    yield _fact("answered", f"{figures.done - figures.failed:,}", f"of {data.total:,}")
    yield _fact("failed", f"{figures.failed:,}", _also(data), bad=bool(figures.failed))
    at_least = "at least " if data.expenses.unreported else ""
    cost = "not known" if data.cost_usd is None else dollars(data.cost_usd)
    per = (
        data.cost_usd
        and figures.done
        and f"{dollars(1_000 * data.cost_usd / figures.done)} per 1,000"
    )
    yield _fact("cost", cost, " ".join(filter(None, (at_least.strip(), per or ""))))
    active_s = data.history.active_s
    rate = f"{figures.done * 60 / active_s:,.0f} per minute" if active_s >= 1 else ""
    yield _fact("time", took(active_s), rate)
    cached = sum(each.cache_read_tokens for each in total.traffic)
    read = sum(each.input_tokens for each in total.traffic) + cached
    from_cache = f"{100 * cached / read:.0f} % from the prompt cache" if cached else ""
    yield _fact("input tokens", amount(figures.input_tokens), from_cache)
    yield _fact("output tokens", amount(figures.output_tokens), "")
    limited = sum(total.limited.values())
    attempts = f"of {counted(total.attempts, 'attempt')}" if total.attempts else ""
    yield _fact("429s", f"{limited:,}", attempts)


def _also(data: ReportData) -> str:
    """Return which answers are not what was asked for."""
    figures = data.figures
    refused, cut = figures.stops["refusal"], figures.unfinished - figures.stops["refusal"]
    parts = [(cut, "cut off"), (refused, "refused"), (figures.off_schema, "off schema")]
    return ", ".join(f"{number:,} {words}" for number, words in parts if number)


def _fact(name: str, value: str, more: str, *, bad: bool = False) -> str:
    words = (tag("small", inert(each)) if each.isalpha() else inert(each) for each in value.split())
    shown = " ".join(words)
    detail = tag("dd", inert(more), class_="more") if more else ""
    return tag("div", tag("dt", name) + tag("dd", shown, class_="bad" if bad else None) + detail)


# figures


def _throughput(axis: TimeAxis, minutes: tuple[Minute, ...]) -> str:
    """Return what each lane used of its limits, a row of charts each."""
    lanes = charts.lanes_of(minutes, _MOST_LANES)
    return "".join(
        tag(
            "div",
            "".join(each.html() for each in charts.throughput(axis, lane, named=len(lanes) > 1)),
            class_="charts three",
        )
        for lane, _ in lanes
    )


def _headroom(axis: TimeAxis, minutes: tuple[Minute, ...]) -> Iterator[Figure | None]:
    """Yield the headroom of the busiest lane, and of others that came near a limit."""
    lanes = charts.lanes_of(minutes, _MOST_LANES)
    for number, (lane, _) in enumerate(lanes):
        most = _NEAR_PERCENT if number else 100.0
        yield charts.headroom(axis, lane, named=len(lanes) > 1, most=most)


def _failures(total: Minute) -> Figure | None:
    """Return failed attempts by kind, with an example of each."""
    if not total.attempts:
        return None
    failed = sum(total.failures.values())
    kinds = sorted(total.failures.items(), key=lambda item: -item[1])
    items = [
        Bar(
            name=kind.replace("_", " "),
            value=float(number),
            said=f"{number:,}",
            colour="c2" if kind in _LIMITED else "bad",
        )
        for kind, number in kinds
    ]
    again = "all" if total.retried == failed else f"{total.retried:,}" if total.retried else "none"
    title = (
        f"{failed:,} of {total.attempts:,} attempts failed; {again} of them were retried"
        if failed
        else "No attempt failed"
    )
    examples = [
        tag("dt", inert(kind.replace("_", " "))) + tag("dd", _example(each.custom_id, each.what))
        for kind, _ in kinds
        if (each := total.examples.get(kind)) is not None
    ]
    return Figure(
        title=title,
        subtitle="failed attempts by kind" if failed else "",
        plot=bars.bars(items, title) if items else "",
        note=tag("dl", "".join(examples), class_="examples") if examples else "",
        split=True,
    )


def _example(custom_id: str, what: str) -> str:
    return tag("bdi", inert(custom_id), class_="id") + " " + tag("q", inert(what), dir="auto")


def _errors(data: ReportData) -> Figure | None:
    """Return results that failed by their cause, with an example of each."""
    errors = sorted(data.figures.errors.items(), key=lambda item: -item[1].results)
    if not errors:
        return None
    title = f"{data.figures.failed:,} of {data.figures.done:,} results failed"
    items = [
        Bar(name=name, value=float(each.results), said=f"{each.results:,}", colour="bad")
        for name, each in errors
    ]
    examples = [
        tag("dt", inert(name)) + tag("dd", _example(each.custom_id, each.what[:300]))
        for name, each in errors[: bars.MOST_ROWS]
    ]
    return Figure(
        title=title,
        subtitle="results by error",
        plot=bars.bars(items, title),
        note=tag("dl", "".join(examples), class_="examples"),
        split=True,
    )


def _stops(data: ReportData) -> Figure | None:
    """Return why answers ended."""
    figures = data.figures
    if not figures.stops:
        return None
    answers = figures.stops.total()
    title = (
        f"{figures.unfinished:,} of {answers:,} answers were cut off or refused"
        if figures.unfinished
        else f"All {answers:,} answers came to their end"
        if answers > 1
        else "The only answer came to its end"
    )
    items = [
        Bar(
            name=reason.replace("_", " "),
            value=float(number),
            said=f"{number:,} ({100 * number / answers:.1f} %)",
            colour="c2" if reason in _STOPPED else "c1",
        )
        for reason, number in figures.stops.most_common()
    ]
    return Figure(title=title, subtitle="answers by stop reason", plot=bars.bars(items, title))


def _sources(data: ReportData) -> Figure | None:
    """Return where the results came from."""
    figures = data.figures
    items = [
        Bar(name=name or "not known", value=float(number), said=f"{number:,}")
        for name, number in figures.endpoints.most_common()
    ]
    parts = [
        (figures.tried_again, "took more than one attempt"),
        (figures.degraded, "came from a fallback"),
        (figures.cached, "were answered from the cache"),
    ]
    said = ", ".join(f"{number:,} {words}" for number, words in parts if number)
    of_all = f"Of {figures.done:,} results {said}"
    if len(items) > 1:
        subtitle = f"{of_all[0].lower()}{of_all[1:]}" if said else ""
        title = "Results by endpoint"
        return Figure(title=title, subtitle=subtitle, plot=bars.bars(items, title))
    if not said:  # one endpoint, at the first attempt
        return None
    ways = [
        Bar(name=words, value=float(number), said=f"{number:,}")
        for number, words in ((figures.done, "all results"), *parts)
        if number
    ]
    return Figure(title=of_all, subtitle="results by how they came", plot=bars.bars(ways, of_all))


def _by_model(data: ReportData) -> Figure | None:
    """Return the cost of each model, or its tokens where no price is known."""
    models = data.figures.models
    if not models:
        return None
    priced = any(each.cost_usd for each in models.values())
    items = [
        Bar(
            name=name,
            value=(each.cost_usd or 0.0) if priced else float(each.output_tokens),
            said=f"{dollars(each.cost_usd)} · {counted(each.results, 'answer')}"
            if priced
            else f"{amount(each.output_tokens)} tokens · {counted(each.results, 'answer')}",
            colour="c4",
        )
        for name, each in models.items()
    ]
    items.sort(key=lambda bar: -bar.value)
    first = items[0]
    total = sum(bar.value for bar in items)
    share = 100 * first.value / total if total else 100.0
    what = "cost" if priced else "output"
    title = (
        f"{first.name} made {share:.0f} % of the {what}"
        if len(items) > 1
        else f"All answers came from {first.name}"
    )
    return Figure(title=title, subtitle=f"{what} by model", plot=bars.bars(items, title))


def _tiers(data: ReportData) -> Figure | None:
    """Return how long the same run would have taken under the limits of higher tiers."""
    if not data.tier_gains:
        return None
    active_s = data.history.active_s
    items = [Bar(name="this run", value=active_s, said=took(active_s), colour="c1")]
    items += [
        Bar(
            name=f"{each.tier.title()} tier",
            value=active_s - each.saved_s,
            said=f"about {took(active_s - each.saved_s)}, {took(each.saved_s)} less",
            colour="c4",
        )
        for each in data.tier_gains
    ]
    best = data.tier_gains[0]
    title = f"The {best.tier.title()} tier would have saved about {took(best.saved_s)}"
    note = (
        "Minutes that a limit of the API held back, at the rates that the tier's limits allow. "
        "What would limit the run next besides limits is not known."
    )
    return Figure(
        title=title,
        subtitle="time at the same prompts",
        plot=bars.bars(items, title),
        note=tag("p", note, class_="quiet"),
        split=True,
    )


# the rest

_MOST_EVENTS = 40

_ABOUT = (
    "Figures over time come from the journal, answers and tokens from the results. "
    "Everything is in this file; it loads nothing."
)


def _events(data: ReportData) -> str:
    """Return starts, stops, longer pauses and endpoints that dropped out, in their order."""
    events: list[tuple[float, str]] = []
    for number, session in enumerate(data.history.sessions):
        if session.opened_at is not None:
            events.append((session.opened_at, "resumed" if number else "started"))
        if session.closed_at is not None:
            why = f": {session.why}" if session.why else ""
            events.append((session.closed_at, f"{session.state}{why}"))
    events += [
        (
            each.at,
            f"endpoint {each.endpoint}: {each.state}" + (f" ({each.why})" if each.why else ""),
        )
        for each in data.history.switches
    ]
    events += [
        (each.at, f"{each.lane} paused for {duration(each.until - each.at)}: {each.why}")
        for each in sorted(data.history.pauses, key=lambda each: each.at - each.until)[:10]
    ]
    events += [(each.at, _adjustment_words(each)) for each in data.history.adjustments]
    events.sort()
    shown = [*events[: _MOST_EVENTS - 5], *events[-5:]] if len(events) > _MOST_EVENTS else events
    items = "".join(
        tag(
            "li",
            tag("time", strftime("%a %H:%M:%S", localtime(at))) + " " + tag("span", inert(what)),
        )
        for at, what in shown
    )
    return tag("ol", items, class_="events") if items else ""


def _adjustment_words(adjustment: Adjustment) -> str:
    """Return what the user changed: adjusted rpm 200, max-cost none."""
    words = {True: "paused", False: "continued", None: ""}[adjustment.pause]
    changes = ", ".join(
        f"{name.replace('_', '-')} {'none' if value is None else f'{value:,.6g}'}"
        for name, value in adjustment.changes.items()
    )
    return "; ".join(filter(None, (words, f"adjusted {changes}" if changes else "")))


def _footer(data: ReportData) -> str:
    lines = [
        f"{data.prompts} to {data.results}, run {data.run_id}",
        f"claude-batch {data.version}",
        _ABOUT,
    ]
    if data.left_out:
        lines.insert(1, f"{data.left_out:,} invalid lines of the input were left out.")
    return tag("footer", "".join(tag("p", inert(line)) for line in lines))
