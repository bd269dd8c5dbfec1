"""`report`: where the page goes, what it never replaces, and what it is made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from claude_batch.commands.runs.report import page_path, report_data, write_report
from claude_batch.errors import UsageError
from claude_batch.storage.files import beside
from tests.support.past_run import PastRun


@pytest.fixture
def run(tmp_path: Path) -> PastRun:
    run = PastRun(folder=tmp_path, total=300)
    run.write()
    return run


@pytest.mark.parametrize(
    ("results", "page"),
    [
        ("p.results.jsonl", "p.report.html"),
        ("p.sandbox.results.jsonl", "p.sandbox.report.html"),
        ("labeled.csv", "labeled.report.html"),
        ("out.jsonl", "out.report.html"),
        ("out", "out.report.html"),
        (".jsonl", ".jsonl.report.html"),
    ],
)
def test_a_page_goes_beside_the_results(results: str, page: str) -> None:
    assert page_path(Path("/x") / results).name == page


def test_the_path_of_a_table_stands_for_its_results(run: PastRun, tmp_path: Path) -> None:
    table = tmp_path / "labeled.csv"
    for path in [run.results, beside(run.results, ".journal")]:
        path.rename(Path(str(path).replace("tickets.results.jsonl", "labeled.csv.results.jsonl")))
    write_report(table, None)
    assert (tmp_path / "labeled.report.html").exists()


def test_a_dash_is_no_page(run: PastRun) -> None:
    with pytest.raises(UsageError, match="- is no file"):
        write_report(run.results, Path("-"))


def test_a_report_replaces_an_earlier_one_and_nothing_else(run: PastRun, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    write_report(run.results, page)
    write_report(run.results, page)
    page.write_text("<!doctype html> my own page")
    with pytest.raises(UsageError, match="is no report of claude-batch"):
        write_report(run.results, page)


def test_a_file_of_the_run_is_no_place_for_a_report(run: PastRun) -> None:
    with pytest.raises(UsageError, match="is a file of the run"):
        write_report(run.results, run.results)


def test_results_without_a_journal_are_refused(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text("{}\n")
    with pytest.raises(UsageError, match="no run has left a journal there"):
        write_report(tmp_path / "r.jsonl", None)


def test_prompts_that_are_gone_are_said_to_be(run: PastRun, tmp_path: Path) -> None:
    (tmp_path / "tickets.jsonl").unlink()
    data = report_data(run.results)
    assert "is gone" in data.prompts_note
    assert not any(each.prompt for each in data.sample)


def test_prompts_that_have_changed_are_not_put_beside_answers(run: PastRun, tmp_path: Path) -> None:
    with (tmp_path / "tickets.jsonl").open("a") as file:
        file.write('{"custom_id":"more","prompt":"x"}\n')
    assert "has changed" in report_data(run.results).prompts_note


def test_only_the_owner_may_read_a_report(run: PastRun, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    write_report(run.results, page)
    assert page.stat().st_mode & 0o777 == 0o600


def test_batches_would_have_cost_half(run: PastRun) -> None:
    data = report_data(run.results)
    assert data.batch_saving_usd == pytest.approx(0.5 * 300 * 0.0011)
