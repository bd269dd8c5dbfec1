"""Pieces of charts as SVG that fits any width: what stretches is apart from text, which does not.

A plot is as wide as its column and of a fixed height. Places along x are percentages; lines are
drawn in an inner picture that is stretched to the plot.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from claude_batch.report.text import inert

TOP, BOTTOM = 20, 22
"""Pixels above the plot, for the first label of the scale, and below, for those of the time."""

WIDTH = 1_000
"""Units of the inner picture."""

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_SUFFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_PLAIN = 10_000


def amount(value: float) -> str:
    """Return a number for a scale or a label: 0.25, 950, 9,800, 12.5k, 2M."""
    size = abs(value)
    if size and size < 1:
        return f"{value:.2g}"
    if size < _PLAIN:
        return f"{value:,.0f}" if size >= 10 or value == int(value) else f"{value:.1f}"  # noqa: PLR2004  # two digits
    scale, suffix = next(step for step in _SUFFIXES if size >= step[0] * 0.9995)
    return f"{value / scale:.3g}{suffix}"


def counted(number: int, noun: str) -> str:
    """Return how many there are: 1 answer, 2,000 answers."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def span(seconds: float) -> str:
    """Return a latency: 250 ms, 1.2 s, 45 s, 3 min."""
    if seconds < 1:
        return f"{seconds * 1_000:.0f} ms"
    if seconds < 10:  # noqa: PLR2004  # one decimal below
        return f"{seconds:.1f} s".replace(".0 s", " s")
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"  # noqa: PLR2004  # two minutes


def clock(wall: float, *, day: bool = False, seconds: bool = False) -> str:
    """Return a time of the day."""
    form = ("%a " if day else "") + ("%H:%M:%S" if seconds else "%H:%M")
    return time.strftime(form, time.localtime(wall))


def ticks(highest: float, about: int = 3) -> list[float]:
    """Return round numbers from 0 up to at least `highest`, a few of them."""
    if highest <= 0:
        return [0.0, 1.0]
    raw = highest / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(each * power for each in _STEPS if each * power >= raw * 0.999)
    return [step * n for n in range(math.ceil(highest / step - 1e-9) + 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Where values are in a plot of `height` pixels; `top` is the highest value."""

    top: float
    height: float

    def y(self, value: float) -> float:
        """Return pixels from the plot's upper edge."""
        share = min(1.0, max(0.0, value / self.top if self.top else 0.0))
        return round(self.height * (1.0 - share), 2)


def tag(name: str, content: str = "", /, **attributes: object) -> str:
    """Return an element; `class_` is its class, `_` in names is a hyphen. Content is markup."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{inert(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{written}>{content}</{name}>"


def percent(share: float) -> str:
    """Return a share as a place along x."""
    return f"{100 * share:.3f}%".replace(".000%", "%")


def inner(height: float, content: Iterable[str]) -> str:
    """Return the stretched picture of a plot."""
    return tag(
        "svg",
        "".join(content),
        y=TOP,
        width="100%",
        height=f"{height:g}",
        viewBox=f"0 0 {WIDTH} {height:g}",
        preserveAspectRatio="none",
        overflow="visible",
    )


def framed(scale: Scale, marks: Sequence[float], content: Iterable[str], unit: str = "") -> str:
    """Return what is drawn in a plot between the lines of its scale and their labels.

    A label stands above its line at the left; the highest one has the unit.
    """
    lines, labels = [], []
    for value in marks:
        y = TOP + scale.y(value)
        kind = "grid" if value else "axis"
        lines.append(tag("line", x1=0, x2="100%", y1=f"{y:g}", y2=f"{y:g}", class_=kind))
        if value:
            said = amount(value) + (f" {unit}" if unit and value == marks[-1] else "")
            labels.append(tag("text", inert(said), x=0, y=f"{y - 4:g}", class_="tick"))
    return "".join((*lines, *content, *labels))


def label(text: str, *, x: str, y: float, anchor: str = "end", class_: str = "") -> str:
    """Return a label beside what it names, with a halo so that lines do not cross it."""
    return tag(
        "text", inert(text), x=x, y=f"{y:g}", text_anchor=anchor, class_=f"label {class_}".strip()
    )


def plot(content: Iterable[str], *, height: float, said: str) -> str:
    """Return a plot; `said` is what it shows, for those who do not see it."""
    return canvas(content, height=height + TOP + BOTTOM, said=said)


def canvas(content: Iterable[str], *, height: float, said: str) -> str:
    """Return a plot without room for axes."""
    return tag(
        "svg",
        "".join(content),
        class_="plot",
        width="100%",
        height=f"{height:g}",
        role="img",
        aria_label=said,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One chart with its title, which says what it shows; `legend` and `note` are markup.

    `wide`: it takes both columns; `split`: its note stands beside it.
    """

    title: str
    plot: str
    subtitle: str = ""
    legend: str = ""
    note: str = ""
    wide: bool = False
    split: bool = False

    def html(self) -> str:
        """Return it as an element of the page."""
        head = tag("h3", inert(self.title))
        if self.subtitle or self.legend:
            unit = tag("span", inert(self.subtitle), class_="unit") if self.subtitle else ""
            head += tag("p", unit + self.legend, class_="sub")
        note = tag("div", self.note, class_="note") if self.note else ""
        kind = "chart" + " wide" * self.wide + " split" * self.split
        return tag("figure", tag("figcaption", head) + self.plot + note, class_=kind)


def legend(names: Sequence[tuple[str, str]]) -> str:
    """Return the names of colours: (class, name)."""
    return "".join(
        tag("span", tag("i", class_=f"key {kind}") + inert(name), class_="keyed")
        for kind, name in names
    )
