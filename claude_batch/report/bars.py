"""Charts of amounts by kind: bars with their names above, a histogram, batches on a time line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from claude_batch.core.history.run import BatchSpan
from claude_batch.core.model.minutes import bucket_start_s, percentile_s
from claude_batch.core.model.units import duration
from claude_batch.report.svg import (
    BOTTOM,
    TOP,
    Figure,
    Scale,
    canvas,
    clock,
    counted,
    framed,
    label,
    percent,
    plot,
    span,
    tag,
    ticks,
)
from claude_batch.report.text import inert

_ROW = 38.0
MOST_ROWS = 12
MOST_BATCHES = 60
_HEIGHT = 150.0
_MOST_NAME = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One amount: `said` is how it is written."""

    name: str
    value: float
    said: str
    colour: str = "c1"


def bars(items: Sequence[Bar], said: str) -> str:
    """Return a plot of bars, one below the other; what does not fit is named."""
    shown = items[:MOST_ROWS]
    most = max((each.value for each in shown), default=0.0)
    parts = []
    for number, each in enumerate(shown):
        y = number * _ROW
        share = each.value / most if most else 0.0
        parts += [
            tag("text", inert(_cut(each.name)), x=0, y=f"{y + 14:g}", class_="name"),
            tag(
                "text",
                inert(each.said),
                x="100%",
                y=f"{y + 14:g}",
                text_anchor="end",
                class_="value",
            ),
            tag("rect", x=0, y=f"{y + 20:g}", width="100%", height=6, rx=3, class_="rail"),
        ]
        if share > 0:
            parts.append(_stretch(0.0, share, y, each.colour))
    height = max(1, len(shown)) * _ROW - 8
    return canvas(parts, height=height, said=said)


def _cut(name: str) -> str:
    """Return a name as long as there is room for it beside a value, on a phone."""
    return name if len(name) <= _MOST_NAME else f"{name[: _MOST_NAME - 1]}…"


def histogram(latency: Mapping[int, int]) -> Figure | None:
    """Return how many answers took how long; long ones on a scale that doubles."""
    if not latency:
        return None
    low, high = min(latency), max(latency)
    total = sum(latency.values())
    marks = ticks(float(max(latency.values())))
    scale = Scale(top=marks[-1], height=_HEIGHT)
    width = high - low + 1
    parts = []
    for bucket, number in sorted(latency.items()):
        y = scale.y(float(number))
        x, wide = (bucket - low) / width, 0.86 / width
        begin, end = bucket_start_s(bucket), bucket_start_s(bucket + 1)
        share = 100 * number / total
        parts.append(
            tag(
                "rect",
                x=percent(x + 0.07 / width),
                width=percent(wide),
                y=f"{TOP + y:g}",
                height=f"{max(0.5, _HEIGHT - y):g}",
                class_="fill c1 hit",
                data_t=f"{span(begin)} to {span(end)}\n{counted(number, 'answer')}, {share:.1f} %",
            )
        )
    doubles = [bucket for bucket in range(low, high + 1) if bucket % 8 == 0]
    step = max(1, -(-len(doubles) // 5))
    for bucket in doubles[::step]:
        x = (bucket - low) / width
        anchor = "start" if x < 0.05 else "middle"  # noqa: PLR2004  # at the edge
        y_text = f"{TOP + _HEIGHT + BOTTOM - 6:g}"
        text = span(bucket_start_s(bucket))
        parts.append(tag("text", text, x=percent(x), y=y_text, text_anchor=anchor, class_="time"))
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        value = percentile_s(latency, share)
        if value is not None:
            parts.append(_mark(name, value, low, width))
    p95 = percentile_s(latency, 0.95) or 0.0
    if total == 1:
        title = f"One answer, after {span(p95)}"
    else:
        title = f"{total:,} answers; one in twenty took {span(p95)} or longer"
    return Figure(
        title=title,
        subtitle="answers by latency, in steps of 9 %",
        plot=plot([framed(scale, marks, parts)], height=_HEIGHT, said=title),
    )


def _mark(name: str, seconds: float, low: int, width: int) -> str:
    """Return a line where a percentile is."""
    bucket = low
    while bucket_start_s(bucket + 1) <= seconds:
        bucket += 1
    begin, end = bucket_start_s(bucket), bucket_start_s(bucket + 1)
    x = (bucket - low + (seconds - begin) / (end - begin)) / width
    place = percent(min(1.0, x))
    line = tag("line", x1=place, x2=place, y1=TOP - 4, y2=f"{TOP + _HEIGHT:g}", class_="mark")
    anchor = "end" if x > 0.85 else "start" if x < 0.1 else "middle"  # noqa: PLR2004  # at the edges
    return line + label(f"{name} {span(seconds)}", x=place, y=TOP - 8, anchor=anchor)


def batch_lines(batches: Sequence[BatchSpan], at: float) -> Figure | None:
    """Return batches on a time line: at the API, then until they were collected."""
    known = [each for each in batches if each.created_at is not None]
    if not known:
        return None
    begin = min(each.created_at or at for each in known)
    end = max(_end(each, at) for each in known)
    length = max(1.0, end - begin)
    shown = known[:MOST_BATCHES]
    parts = []
    for number, each in enumerate(shown):
        y = number * _ROW
        created = each.created_at or begin
        ended = each.ended_at or each.collected_at or at
        x0, x1 = (created - begin) / length, (ended - begin) / length
        x2 = (max(_end(each, at), ended) - begin) / length
        name = f"batch {each.chunk}" + (f" · …{each.id[-6:]}" if each.id else "")
        took = f"{counted(each.requests, 'request')} · {duration(max(0.0, ended - created))}"
        state = "" if each.state == "collected" else f" · {each.state}"
        parts += [
            tag("text", inert(name), x=0, y=f"{y + 14:g}", class_="name"),
            tag(
                "text",
                inert(took + state),
                x="100%",
                y=f"{y + 14:g}",
                text_anchor="end",
                class_="value",
            ),
            tag("rect", x=0, y=f"{y + 20:g}", width="100%", height=6, rx=3, class_="rail"),
            _stretch(x1, x2, y, "c5"),
            _stretch(x0, x1, y, "c1" if each.ended_at else "c4"),
        ]
    height = len(shown) * _ROW
    day = length > 86_400  # noqa: PLR2004  # a day
    for x, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        text = clock(begin + x * length, day=day, seconds=length < 120)  # noqa: PLR2004  # two minutes
        parts.append(
            tag("text", text, x=percent(x), y=f"{height + 8:g}", text_anchor=anchor, class_="time")
        )
    times = [each.ended_at - each.created_at for each in known if each.ended_at and each.created_at]
    slowest = f", the slowest in {duration(max(times))}" if times else ""
    open_ = sum(each.ended_at is None and each.state != "collected" for each in known)
    waiting = f"; {open_:,} still at the API" if open_ else ""
    noun = "batch" if len(known) == 1 else "batches"
    title = f"{len(known):,} {noun}{slowest}{waiting}"
    more = len(known) - len(shown)
    note = tag("p", f"and {more:,} more", class_="quiet") if more > 0 else ""
    return Figure(
        title=title,
        subtitle="from submission to their end; lighter: until the results were collected",
        plot=tag(
            "svg",
            "".join(parts),
            class_="plot",
            width="100%",
            height=f"{height + 14:g}",
            role="img",
            aria_label=title,
        ),
        note=note,
        wide=True,
    )


def _end(each: BatchSpan, at: float) -> float:
    return each.collected_at or each.ended_at or at


def _stretch(x0: float, x1: float, y: float, colour: str) -> str:
    if x1 <= x0:
        return ""
    return tag(
        "rect",
        x=percent(x0),
        y=f"{y + 20:g}",
        width=percent(max(0.004, x1 - x0)),
        height=6,
        rx=3,
        class_=f"fill {colour}",
    )
