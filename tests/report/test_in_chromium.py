"""The page in a browser: it loads nothing, logs nothing, fits a phone, runs no foreign script."""

from __future__ import annotations

from pathlib import Path

import pytest

from claude_batch.commands.runs.report import write_report
from tests.report.test_page import HOSTILE
from tests.support.chromium import CHROMIUM, open_page
from tests.support.past_run import PastRun

pytestmark = [
    pytest.mark.services,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]

SHOWN = "[...document.querySelectorAll('.row')].filter((row) => !row.hidden).length"
SEARCH = """((text) => {
    const search = document.getElementById("search");
    search.value = text;
    search.dispatchEvent(new Event("input"));
})"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    run = PastRun(folder=folder, total=500, odd=HOSTILE, endpoints=("main", HOSTILE[1]))
    write_report(run.write(), folder / "report.html")
    return folder / "report.html"


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, False), (390, True)])
def test_it_loads_and_logs_nothing_and_fits(page: Path, width: int, *, dark: bool) -> None:
    opened = open_page(
        page,
        "document.documentElement.scrollWidth",
        "document.querySelectorAll('svg.plot, canvas').length",
        "getComputedStyle(document.body).backgroundColor",
        width=width,
        dark=dark,
    )
    scroll_width, charts, background = opened.evaluated
    assert (opened.logged, opened.requests) == ([], [])
    assert scroll_width == width
    assert charts >= 6
    assert background == ("rgb(22, 24, 27)" if dark else "rgb(251, 250, 248)")


def test_nothing_foreign_runs(page: Path) -> None:
    opened = open_page(
        page,
        "typeof window.pwned",
        "document.getElementById('pwned')",
        "document.scripts.length",
        "document.querySelector('.row pre').textContent.includes('<') || document.body.textContent"
        ".includes('<script>window.pwned=1</script>')",
    )
    assert opened.evaluated == ["undefined", None, 1, True]


def test_the_sample_is_searched_and_filtered(page: Path) -> None:
    opened = open_page(
        page,
        SHOWN,
        "document.getElementById('more').click()",
        SHOWN,
        f"{SEARCH}('<SCRIPT>window')",
        SHOWN,
        f"{SEARCH}('no such text')",
        SHOWN,
        f"{SEARCH}('')",
        "document.querySelector('.filter[data-sort=failed]').click()",
        SHOWN,
        "document.querySelectorAll('.row[data-sort=failed]').length",
    )
    first, _, everything, _, found, _, none, _, _, failed, failures = opened.evaluated
    assert first == 30
    assert everything > found > none == 0
    assert failed == failures > 0


def test_a_pointer_shows_the_figures_of_a_minute(page: Path) -> None:
    opened = open_page(
        page,
        """(() => {
            const hit = document.querySelector("rect.hit");
            hit.dispatchEvent(new PointerEvent("pointermove", {bubbles: true}));
            return document.getElementById("tip").textContent;
        })()""",
    )
    (tip,) = opened.evaluated
    assert " to " in tip
