"""The part of a report that is read: prompts with their answers, failures first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from claude_batch.core.history.results import Sampled
from claude_batch.core.model.units import dollars
from claude_batch.report.data import ReportData
from claude_batch.report.svg import span, tag
from claude_batch.report.text import inert

_SORTS = {"failed": "failed", "cut": "cut off, refused or off its schema", "ok": "as asked for"}

_CUT = {
    "max_tokens": "cut off by max_tokens",
    "refusal": "refused",
    "pause_turn": "paused",
    "model_context_window_exceeded": "cut off by the context window",
}


def sample_html(data: ReportData) -> str:
    """Return the sample, with what searches in it."""
    counts = Counter(_sort(each) for each in data.sample)
    if not counts:
        return tag("p", "There is no result yet.", class_="quiet")
    filters = "".join(
        tag(
            "button",
            f"{inert(words)} {tag('b', f'{counts[sort]:,}')}",
            type="button",
            class_="filter",
            data_sort=sort,
            aria_pressed="false",
        )
        for sort, words in _SORTS.items()
        if counts[sort]
    )
    search = (
        '<input type="search" id="search" placeholder="Search prompts, answers, ids, errors" '
        'aria-label="Search prompts, answers, ids, errors" autocomplete="off">'
    )
    notes = [_how_many(data, counts), data.prompts_note]
    said = "".join(tag("p", inert(note), class_="quiet") for note in notes if note)
    bar = tag("div", search + filters + tag("span", "", id="found", role="status"), class_="tools")
    return said + bar + tag("div", "".join(map(_row, data.sample)), id="rows")


def _how_many(data: ReportData, counts: Counter[str]) -> str:
    shown, done = sum(counts.values()), data.figures.done
    if shown >= done:
        return f"All {done:,} results." if done > 1 else "The only result."
    some = [
        f"{counts[sort]:,} of those that {words}"
        for sort, words in (("failed", "failed"), ("cut", "were cut off or refused"))
        if counts[sort]
    ]
    if not some:
        return f"{shown:,} of {done:,} results, drawn at random."
    return f"{shown:,} of {done:,} results: {', '.join(some)}, and others, drawn at random."


def _sort(each: Sampled) -> str:
    if each.status != "succeeded":
        return "failed"
    return "cut" if each.is_cut else "ok"


def _row(each: Sampled) -> str:
    sort = _sort(each)
    head = tag("span", inert(_status(each)), class_=f"status {sort}")
    head += tag("bdi", inert(each.custom_id), class_="id")
    head += tag("span", inert(" · ".join(_facts(each))), class_="facts")
    asked = _text("Prompt", each.prompt) if each.prompt is not None else ""
    answered = _text("Error", each.error, "error") if each.error else ""
    if each.answer or not answered:
        answered += _text("Answer", each.answer or "(no text)")
    pair = tag("div", asked, class_="asked") + tag("div", answered, class_="answered")
    return tag(
        "article",
        tag("header", head) + tag("div", pair, class_="pair"),
        class_="row",
        data_sort=sort,
        tabindex=0,
    )


def _text(name: str, text: str | None, kind: str = "") -> str:
    return tag("h4", name) + tag("pre", inert(text or ""), dir="auto", class_=kind or None)


def _status(each: Sampled) -> str:
    if each.status != "succeeded":
        return each.status
    if each.error:
        return "off its schema"
    return _CUT.get(each.stop_reason, each.stop_reason) if each.is_cut else "succeeded"


def _facts(each: Sampled) -> Iterator[str]:
    """Yield what is known of a result besides its text."""
    if each.line is not None:
        yield f"line {each.line:,}"
    if each.model:
        yield each.model
    if each.endpoint and each.endpoint != "default":
        yield each.endpoint
    if each.attempts is not None and each.attempts > 1:
        yield f"{each.attempts} attempts"
    if each.latency_s is not None:
        yield span(each.latency_s)
    if each.input_tokens is not None and each.output_tokens is not None:
        yield f"{each.input_tokens:,} in, {each.output_tokens:,} out"
    if each.cost_usd is not None:
        yield dollars(each.cost_usd)
    if each.cached:
        yield "from the cache"
    if each.degraded:
        yield "by a fallback"
