"""The page of a report: complete, self-contained, and inert whatever the answers say."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from copy import deepcopy
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from claude_batch.commands.runs.report import report_data
from claude_batch.core.model.events import Expense
from claude_batch.report.data import ReportData
from claude_batch.report.page import page_html
from claude_batch.report.words import advice
from tests.support.past_run import BEGAN_AT, PastRun

HOSTILE = (
    "<script>window.pwned=1</script>",
    '"><img src=x onerror="window.pwned=1">',
    "</script><script>window.pwned=1</script>",
    "</style></pre></article><b id=pwned>",
    "${7*7} {{7*7}} `x` --> ]]>",
    "' onfocus='window.pwned=1' autofocus='",
    "a\0b\u202egnp\u2069\u2028",
)


class Elements(HTMLParser):
    """The elements of a page, and the text of its script."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._open = tag

    def handle_endtag(self, tag: str) -> None:
        self._open = f"after {tag}"

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self._open, []).append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    folder = tmp_path_factory.mktemp("plain")
    return report_data(PastRun(folder=folder, total=2_000, endpoints=("a", "b")).write())


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("hostile")
    run = PastRun(folder=folder, total=500, odd=HOSTILE, endpoints=("main", HOSTILE[0]))
    return page_html(report_data(run.write()))


def test_the_sentence_that_matters_comes_first(plain: ReportData) -> None:
    page = page_html(plain)
    assert "<h1>1,990 of 2,000 prompts were answered in 25 s for 2.19 USD; 10 failed.</h1>" in page
    assert "Input tokens limited this run for all of its 25 s." in page
    assert "Cheaper: Message Batches" in page
    assert page.index("<h1>") < page.index("<svg") < page.index('id="rows"')


def test_a_saving_that_cannot_be_seen_is_no_advice(plain: ReportData) -> None:
    def cheaper(usd: float) -> str:
        figures = replace(plain.figures, cost_usd=usd)
        data = replace(plain, figures=figures, expenses=Expense(), batch_saving_usd=usd / 2)
        return next((each for each in advice(data) if each.startswith("Cheaper")), "")

    assert cheaper(0.00008) == ""
    assert "(--mode batch), under 0.0001 USD instead of 0.00016 USD" in cheaper(0.00016)


def test_a_run_of_one_prompt_is_described_in_the_singular(tmp_path: Path) -> None:
    page = page_html(report_data(PastRun(folder=tmp_path, total=1).write()))
    assert re.search(r"\b1 (answers|attempts)\b", page) is None


def test_at_least_six_charts_stand_in_the_page_itself(plain: ReportData) -> None:
    plots = [each for each in Elements(page_html(plain)).named("svg") if each.get("class")]
    assert len(plots) >= 6
    assert all(each["aria-label"] for each in plots)


def test_where_results_came_from_is_shown_with_a_title_that_fits(plain: ReportData) -> None:
    figures = deepcopy(plain.figures)
    figures.tried_again = 1
    figures.endpoints = Counter(one=3, two=2)
    several = page_html(replace(plain, figures=figures))
    figures.endpoints = Counter(one=5)
    single = page_html(replace(plain, figures=figures))
    assert "Results by endpoint" in several
    assert f"of {figures.done:,} results 1 took more than one attempt" in several
    assert "Results by endpoint" not in single
    assert f"Of {figures.done:,} results 1 took more than one attempt" in single


@pytest.mark.parametrize("which", ["plain", "hostile"])
def test_nothing_is_loaded_and_only_our_script_is_allowed(
    which: str, plain: ReportData, hostile: str
) -> None:
    page = Elements(page_html(plain) if which == "plain" else hostile)
    (policy,) = (
        each["content"] or ""
        for each in page.named("meta")
        if each.get("http-equiv") == "Content-Security-Policy"
    )
    assert "default-src 'none'" in policy
    for kind in ("script", "style"):
        content = "".join(page.texts[kind])
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
        assert len(page.named(kind)) == 1
    loading = {"src", "href", "srcset", "action", "style", "xlink:href"}
    for tag, attributes in page.found:
        assert tag not in {"img", "iframe", "object", "embed", "link", "base", "form", "a"}
        assert not loading & set(attributes)
        assert not [name for name in attributes if name.startswith("on")]


def test_hostile_texts_make_no_element(plain: ReportData, hostile: str) -> None:
    ours = {tag for tag, _ in Elements(page_html(plain)).found}
    assert {tag for tag, _ in Elements(hostile).found} <= ours | {"q", "bdi"}
    assert not re.search("[\0\u2028\u202e\u2069]", hostile)


def test_hostile_texts_are_shown(hostile: str) -> None:
    assert "&lt;script&gt;window.pwned=1&lt;/script&gt;" in hostile
    assert "${7*7} {{7*7}} `x` --&gt; ]]&gt;" in hostile
    assert "a⟨U+0000⟩b⟨U+202E⟩gnp⟨U+2069⟩" in hostile


def test_failures_come_first_in_the_sample(plain: ReportData) -> None:
    sorts = [each["data-sort"] for each in Elements(page_html(plain)).named("article")]
    assert sorts == sorted(sorts, key=lambda sort: "failed cut ok".index(sort or ""))
    assert (sorts.count("failed"), sorts.count("cut"), sorts.count("ok")) == (10, 25, 150)
    assert "10 of those that failed, 25 of those that were cut off or refused, and" in page_html(
        plain
    )
    calm = replace(plain, sample=tuple(each for each in plain.sample if not each.is_cut)[10:])
    assert " results, drawn at random." in page_html(calm)


def test_prompts_stand_beside_their_answers(plain: ReportData) -> None:
    assert all(each.prompt for each in plain.sample)
    assert page_html(plain).count("<h4>Prompt</h4>") == len(plain.sample)


def test_a_run_without_results_has_a_page(plain: ReportData, tmp_path: Path) -> None:
    run = PastRun(folder=tmp_path, total=3, finished=False)
    run.write().write_bytes(b"")
    data = replace(report_data(run.results), history=type(plain.history)())
    page = page_html(data)
    assert "0 of 3 prompts were answered; 3 are left." in page
    assert "There is no result yet." in page
    assert "claude-batch resume" in page


def test_a_run_whose_process_was_killed_says_how_to_go_on(tmp_path: Path) -> None:
    run = PastRun(folder=tmp_path, total=200, finished=False)
    lines = run.write().read_bytes().splitlines(keepends=True)
    run.results.write_bytes(b"".join(lines[:150]) + lines[150][:50])
    page = page_html(report_data(run.results))
    assert "50 are left" in page
    assert "next: <code>claude-batch resume" in page


def test_times_are_those_of_the_journal(plain: ReportData) -> None:
    assert plain.history.sessions[0].begin == BEGAN_AT
