"""Charts over the time of a run: throughput against limits, 429s, latency, cost."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from claude_batch.core.history.minutes import bound_of, merged
from claude_batch.core.history.run import RunHistory
from claude_batch.core.model.minutes import (
    LIMIT_ORDER,
    LaneFigures,
    LimitFigures,
    Minute,
    Traffic,
    percentile_s,
)
from claude_batch.core.model.requests import LIMIT_NAMES, LimitKind
from claude_batch.core.model.units import dollars
from claude_batch.report.svg import (
    TOP,
    WIDTH,
    Figure,
    Scale,
    amount,
    framed,
    inner,
    label,
    legend,
    percent,
    plot,
    span,
    tag,
    ticks,
)
from claude_batch.report.timeline import Bin, TimeAxis, area, climb, steps
from claude_batch.report.words import bound_title, short_bound

HEIGHT = 150.0
_STRIP = 34.0
_FLAT = 16.0
_PERCENT = 0.01
_SCARCE = 10.0
"""Percent of a limit below which its headroom is scarce."""

_SHORT_S = 300.0
"""Shorter runs are described by their rates: the full bucket at their start distorts shares."""

_COLOURS = ("c7", "c5", "c4", "c6", "c3", "c2", "c1")
"""Those of what holds a run back, in the order in which they are taken."""

_Key = tuple[str, str, str]
"""What holds a run back: reason, kind of limit, whose limit."""

UNITS = {
    LimitKind.REQUESTS: ("Requests", "requests per minute"),
    LimitKind.INPUT_TOKENS: ("Input tokens", "tokens per minute, without cache reads"),
    LimitKind.OUTPUT_TOKENS: ("Output tokens", "tokens per minute"),
}
_USED: dict[LimitKind, Callable[[Traffic], int]] = {
    LimitKind.REQUESTS: lambda traffic: traffic.attempts,
    LimitKind.INPUT_TOKENS: lambda traffic: traffic.input_tokens,
    LimitKind.OUTPUT_TOKENS: lambda traffic: traffic.output_tokens,
}
_NAMES = {**{kind.value: name for kind, name in LIMIT_NAMES.items()}, "": "no limit named"}
_OWN = {"ceiling": "your limit", "share": "your share", "assumed": "assumed limit"}


def bound_strip(axis: TimeAxis, history: RunHistory) -> Figure:
    """Return what held the run back at each moment."""
    kinds: dict[_Key, float] = {}
    parts: list[tuple[Bin, _Key]] = []
    for each in axis.bins:
        if not each.minute.lanes:
            continue
        bound = bound_of(each.minute)
        key = ("", "", "") if bound is None else (bound.reason, bound.limit, bound.source)
        kinds[key] = kinds.get(key, 0.0) + each.minute.seconds
        parts.append((each, key))
    order = sorted(kinds, key=lambda key: -kinds[key])
    colours = _bound_colours(order)
    rects = "".join(
        tag(
            "rect",
            x=percent(x0),
            width=percent(x1 - x0),
            y=TOP,
            height=f"{_STRIP:g}",
            class_=f"fill {colours[key]}",
        )
        for key, x0, x1 in _joined(parts)
    )
    hits = axis.hits(_STRIP, lambda each: _bound_text(each.minute))
    title = bound_title(history.minutes)
    return Figure(
        title=title,
        plot=plot([rects, axis.times(_STRIP), axis.resumed(), hits], height=_STRIP, said=title),
        legend=legend([(colours[key], short_bound(*key)) for key in order[:6]]),
        wide=True,
    )


def _joined(parts: Sequence[tuple[Bin, _Key]]) -> list[tuple[_Key, float, float]]:
    """Return stretches of one key, each as long as it lasts."""
    joined: list[tuple[_Key, float, float]] = []
    for each, key in parts:
        if joined and joined[-1][0] == key and math.isclose(joined[-1][2], each.x0, abs_tol=1e-3):
            joined[-1] = (key, joined[-1][1], each.x1)
        else:
            joined.append((key, each.x0, each.x1))
    return joined


def _bound_colours(order: Sequence[_Key]) -> dict[_Key, str]:
    """Return a colour for each key: its usual one, another where that is taken by one before."""
    colours: dict[_Key, str] = {}
    for key in order:
        usual = _bound_colour(key)
        free = (each for each in (usual, *_COLOURS) if each not in colours.values())
        colours[key] = next(free, usual)
    return colours


def _bound_colour(key: _Key) -> str:
    reason, limit, _ = key
    known = {"requests": "c1", "input_tokens": "c2", "output_tokens": "c3"}
    others = {"": "c0", "concurrency": "c4", "rate_limited": "c5", "outage": "c6"}
    return known.get(limit) or others.get(reason, "c7")


def _bound_text(minute: Minute) -> str:
    bound = bound_of(minute)
    return (
        short_bound("", "", "")
        if bound is None
        else short_bound(bound.reason, bound.limit, bound.source)
    )


def progress(axis: TimeAxis, total: int, before: int) -> Figure:
    """Return how many prompts had a result at each moment."""
    done, points, text = before, [(0.0, float(before))], {}
    for each in axis.bins:
        points += [(each.x0, float(done))]
        done += each.minute.succeeded + each.minute.failed
        points += [(each.x1, float(done))]
        text[each] = f"{done:,} of {total:,} done"
    marks = ticks(float(max(total, done, 1)))
    scale = Scale(top=marks[-1], height=HEIGHT)
    line = climb(points, scale)
    closed = f"{line}V{HEIGHT:g}H{WIDTH * points[0][0]:.1f}Z"
    title = f"{done:,} of {total:,} prompts done"
    return Figure(
        title=title,
        subtitle="results on disk, cumulative",
        plot=plot(
            [
                framed(
                    scale,
                    marks,
                    [inner(HEIGHT, [tag("path", d=closed, class_="area c1"), _line(line, "c1")])],
                ),
                axis.times(HEIGHT),
                axis.hits(HEIGHT, lambda each: text[each]),
            ],
            height=HEIGHT,
            said=title,
        ),
    )


def lanes_of(minutes: Sequence[Minute], most: int) -> list[tuple[str, int]]:
    """Return the lanes with the most attempts, and how many; "" stands for batches."""
    attempts: Counter[str] = Counter()
    for minute in minutes:
        for traffic in minute.traffic:
            attempts[traffic.lane] += traffic.attempts
    return attempts.most_common(most)


def throughput(axis: TimeAxis, lane: str, *, named: bool) -> Iterator[Figure]:
    """Yield requests, input and output tokens of a lane against its limits."""
    for kind, (name, unit) in UNITS.items():
        yield _used_figure(
            axis, lane, kind, f"{lane or 'Batches'}: {name.lower()}" if named else name, unit
        )


def _used_figure(axis: TimeAxis, lane: str, kind: LimitKind, name: str, unit: str) -> Figure:
    def used(each: Bin) -> float:
        own = (traffic for traffic in each.minute.traffic if traffic.lane == lane)
        return each.per_minute(sum(_USED[kind](traffic) for traffic in own))

    def limit(each: Bin) -> float | None:
        found = _limit_of(each.minute, lane, kind)
        return None if found is None else found.per_minute

    values = [used(each) for each in axis.bins]
    limits = [value for each in axis.bins if (value := limit(each)) is not None]
    top = max([*values, 0.0])
    shown = bool(limits) and max(limits) <= 4 * max(top, 1e-9)
    marks = ticks(max([top, *limits] if shown else [top]))
    scale = Scale(top=marks[-1], height=HEIGHT)
    last = next((each for each in reversed(axis.bins) if limit(each) is not None), None)
    over = ""
    if last is not None and limits:
        found = _limit_of(last.minute, lane, kind)
        whose = _OWN.get(found.source, "limit") if found else "limit"
        if shown:
            over = label(
                f"{whose} {amount(limits[-1])}",
                x="100%",
                y=TOP + scale.y(limits[-1]) - 5,
                class_="quiet",
            )
        else:
            over = label(f"{whose} {amount(limits[-1])}, far above", x="100%", y=12, class_="quiet")
    title = _used_title(axis.bins, values, limit, name)
    bursts = shown and any(
        v > 1.1 * (limit(b) or v) for v, b in zip(values, axis.bins, strict=True)
    )
    unit += "; above the limit while a full bucket lasts" if bursts else ""
    lines = [tag("path", d=area(axis.bins, used, scale), class_="area c1")]
    lines.append(_line(steps(axis.bins, used, scale), "c1"))
    if shown:
        lines.append(tag("path", d=steps(axis.bins, limit, scale), class_="line limit"))
    return Figure(
        title=title,
        subtitle=unit,
        plot=plot(
            [
                framed(scale, marks, [inner(HEIGHT, lines)]),
                over,
                axis.times(HEIGHT),
                axis.hits(HEIGHT, lambda each: f"{amount(used(each))} per minute"),
            ],
            height=HEIGHT,
            said=title,
        ),
    )


def _used_title(
    bins: Sequence[Bin],
    values: Sequence[float],
    limit: Callable[[Bin], float | None],
    name: str,
) -> str:
    """Return the share of the limit that was used; of a short run, or without a limit, the rate."""
    seconds = sum(each.minute.seconds for each in bins)
    if not seconds:
        return name
    mean = sum(v * each.minute.seconds for v, each in zip(values, bins, strict=True)) / seconds
    limits = [limit(each) for each in bins]
    known = [value for value in limits if value]
    if len(known) < len(bins) or seconds < _SHORT_S:
        return f"{name}: {amount(_rounded(mean))} per minute"
    allowed = sum(v * each.minute.seconds for v, each in zip(known, bins, strict=True))
    share = min(1.0, mean * seconds / allowed)
    percent_used = f"{100 * share:.0f} %" if share >= _PERCENT else "under 1 %"
    return f"{name}: {percent_used} of the limit used"


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def _lane(minute: Minute, lane: str) -> LaneFigures | None:
    return next((each for each in minute.lanes if each.lane == lane), None)


def _limit_of(minute: Minute, lane: str, kind: LimitKind) -> LimitFigures | None:
    found = _lane(minute, lane)
    limits = found.limits if found else ()
    return next((each for each in limits if each.kind == kind and each.per_minute), None)


def headroom(axis: TimeAxis, lane: str, *, named: bool, most: float) -> Figure | None:
    """Return what was left of each limit of a lane at the worst moment of each minute.

    None where no limit is known, or there was always more than `most` percent.
    """

    def left(each: Bin, kind: LimitKind) -> float | None:
        limit = _limit_of(each.minute, lane, kind)
        if limit is None or limit.least is None or not limit.per_minute:
            return None
        return 100.0 * min(1.0, max(0.0, limit.least / limit.per_minute))

    scale = Scale(top=100.0, height=HEIGHT)
    lines, least, keys = [], {}, []
    for number, kind in enumerate(LimitKind, start=1):
        known = [value for each in axis.bins if (value := left(each, kind)) is not None]
        if known:
            least[kind] = min(known)
            path = steps(axis.bins, lambda each, kind=kind: left(each, kind), scale)  # type: ignore[misc]  # kind is bound
            lines.append(_line(path, f"c{number}"))
            keys.append((f"c{number}", LIMIT_NAMES[kind]))
    if not lines or min(least.values()) > most:
        return None
    scarcest = min(least, key=lambda kind: least[kind])
    verb = "fell to" if least[scarcest] < _SCARCE else "never fell below"
    title = f"{LIMIT_NAMES[scarcest]} headroom {verb} {least[scarcest]:.0f} %"

    def text(each: Bin) -> str:
        values = ((kind, left(each, kind)) for kind in LimitKind)
        return "\n".join(
            f"{LIMIT_NAMES[kind]}: {value:.0f} % left"
            for kind, value in values
            if value is not None
        )

    return Figure(
        title=f"{lane}: {title}" if named else title,
        subtitle="least headroom, in percent of the limit",
        legend=legend(keys),
        plot=plot(
            [
                framed(scale, [0.0, 50.0, 100.0], [inner(HEIGHT, lines)], "%"),
                axis.times(HEIGHT),
                axis.hits(HEIGHT, text),
            ],
            height=HEIGHT,
            said=title,
        ),
    )


def rate_limited(axis: TimeAxis) -> Figure:
    """Return the 429s per minute by the limit that they name."""
    counts: Counter[str] = Counter()
    for each in axis.bins:
        counts.update(each.minute.limited)
    attempts = sum(each.minute.attempts for each in axis.bins)
    total = counts.total()
    height = HEIGHT if total else _FLAT
    kinds = [kind for kind in LIMIT_ORDER if counts[kind]]
    colours = {kind: f"c{n}" for kind, n in zip(LIMIT_ORDER, (1, 2, 3, 7), strict=True)}

    def stacked(each: Bin, number: int) -> float:
        return each.per_minute(sum(each.minute.limited.get(kind, 0) for kind in kinds[:number]))

    marks = ticks(max((stacked(each, len(kinds)) for each in axis.bins), default=0.0))
    scale = Scale(top=marks[-1], height=height)
    layers = []
    for number in range(len(kinds), 0, -1):
        path = area(axis.bins, lambda each, n=number: stacked(each, n), scale)  # type: ignore[misc]  # n is bound
        layers.append(tag("path", d=path, class_=f"fill {colours[kinds[number - 1]]}"))
    share = f"{100 * total / attempts:.2g} %" if attempts else ""
    title = (
        f"{total:,} of {attempts:,} attempts met a 429 ({share})"
        if total
        else "No attempt met a 429"
    )
    return Figure(
        title=title,
        subtitle="429s per minute",
        legend=legend([(colours[kind], _NAMES[kind]) for kind in kinds]),
        plot=plot(
            [
                framed(scale, marks if total else [0.0], [inner(height, layers)]),
                axis.times(height),
                axis.hits(height, lambda each: _limited_text(each.minute)),
            ],
            height=height,
            said=title,
        ),
    )


def _limited_text(minute: Minute) -> str:
    lines = [
        f"{minute.limited[k]:,} 429s, {_NAMES[k]}" for k in LIMIT_ORDER if minute.limited.get(k)
    ]
    return "\n".join(lines) or "no 429"


def latency(axis: TimeAxis) -> Figure | None:
    """Return how long answers took, over the time of the run."""
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99}

    def at(each: Bin, name: str) -> float | None:
        return percentile_s(each.minute.latency, shares[name])

    values = [value for each in axis.bins if (value := at(each, "p99")) is not None]
    if not values:
        return None
    marks = ticks(max(values))
    scale = Scale(top=marks[-1], height=HEIGHT)
    everything = merged([each.minute for each in axis.bins]).latency
    p50, p99 = percentile_s(everything, 0.5) or 0.0, percentile_s(everything, 0.99) or 0.0
    title = f"Half of the answers took under {span(p50)}, 99 % under {span(p99)}"
    colours = {"p50": "c1", "p95": "c2", "p99": "c3"}
    lines = [
        _line(steps(axis.bins, lambda each, name=name: at(each, name), scale), colours[name])  # type: ignore[misc]  # bound
        for name in shares
    ]

    def text(each: Bin) -> str:
        known = ((name, at(each, name)) for name in shares)
        return "\n".join(f"{name} {span(value)}" for name, value in known if value is not None)

    return Figure(
        title=title,
        subtitle="seconds from sending to the whole answer",
        legend=legend([(colours[name], name) for name in shares]),
        plot=plot(
            [
                framed(scale, marks, [inner(HEIGHT, lines)], "s"),
                axis.times(HEIGHT),
                axis.hits(HEIGHT, text),
            ],
            height=HEIGHT,
            said=title,
        ),
    )


def cost(axis: TimeAxis) -> Figure | None:
    """Return what had been spent at each moment."""
    spent, points, text = 0.0, [(0.0, 0.0)], {}
    for each in axis.bins:
        points.append((each.x0, spent))
        spent += each.minute.cost_usd or 0.0
        points.append((each.x1, spent))
        text[each] = f"{dollars(spent)} so far"
    if not spent:
        return None
    marks = ticks(spent)
    scale = Scale(top=marks[-1], height=HEIGHT)
    line = climb(points, scale)
    minutes = sum(each.minute.seconds for each in axis.bins) / 60.0
    title = f"{dollars(spent / minutes)} per minute on average" if minutes else "Cost"
    return Figure(
        title=title,
        subtitle="spent so far, in USD",
        plot=plot(
            [
                framed(
                    scale,
                    marks,
                    [
                        inner(
                            HEIGHT,
                            [
                                tag("path", d=f"{line}V{HEIGHT:g}H0Z", class_="area c4"),
                                _line(line, "c4"),
                            ],
                        )
                    ],
                    "USD",
                ),
                axis.times(HEIGHT),
                axis.hits(HEIGHT, lambda each: text[each]),
            ],
            height=HEIGHT,
            said=title,
        ),
    )


def by_endpoint(axis: TimeAxis) -> Figure | None:
    """Return the attempts per minute of each endpoint; None with a single one."""
    counts: Counter[str] = Counter()
    for each in axis.bins:
        for traffic in each.minute.traffic:
            counts[traffic.endpoint] += traffic.attempts
    names = [name for name, _ in counts.most_common(6)]
    if len(names) < 2:  # noqa: PLR2004  # a pool
        return None

    def taken(each: Bin, name: str) -> float:
        own = (t.attempts for t in each.minute.traffic if t.endpoint == name)
        return each.per_minute(sum(own))

    marks = ticks(max(taken(each, name) for each in axis.bins for name in names))
    scale = Scale(top=marks[-1], height=HEIGHT)
    layers = []
    for n, name in enumerate(names, start=1):
        path = steps(axis.bins, lambda each, name=name: taken(each, name), scale)  # type: ignore[misc]  # bound
        layers.append(_line(path, f"c{n}"))
    first = names[0]
    title = (
        f"{first} took {100 * counts[first] / counts.total():.0f} % of {counts.total():,} attempts"
    )

    def text(each: Bin) -> str:
        own: Counter[str] = Counter()
        for traffic in each.minute.traffic:
            own[traffic.endpoint] += traffic.attempts
        return "\n".join(f"{name}: {own[name]:,}" for name in names if own[name])

    return Figure(
        title=title,
        subtitle="attempts per minute, by endpoint",
        legend=legend([(f"c{n}", name) for n, name in enumerate(names, start=1)]),
        plot=plot(
            [
                framed(scale, marks, [inner(HEIGHT, layers)]),
                axis.times(HEIGHT),
                axis.hits(HEIGHT, text),
            ],
            height=HEIGHT,
            said=title,
        ),
    )


def _line(path: str, colour: str) -> str:
    return tag("path", d=path, class_=f"line {colour}")
