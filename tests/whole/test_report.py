"""The report and the history of real runs: what the server counts is what they show."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.program import Program, served

pytestmark = pytest.mark.whole

REFUSING = """
[faults]
overloaded = 0.2
"""
RESULTS = "p.results.jsonl"


def write_prompts(folder: Path, count: int) -> None:
    lines = [json.dumps({"custom_id": f"p{n}", "prompt": f"hi {n}"}) for n in range(count)]
    (folder / "p.jsonl").write_text("\n".join(lines) + "\n")


def test_a_run_in_two_parts_is_shown_as_the_server_saw_it(tmp_path: Path) -> None:
    write_prompts(tmp_path, 60)
    with served(tmp_path, REFUSING) as sandbox:
        program = Program(folder=tmp_path, variables=sandbox.variables)
        assert program.run("run", "p.jsonl", "--no-stdout", "--limit", "20").returncode == 6
        assert program.run("run", "p.jsonl", "--no-stdout").returncode == 0
        statuses = sandbox.stats()["by_status"]
    shown = program.run("status", RESULTS, "--history", "--json")
    minutes = json.loads(shown.stdout)
    assert sum(each["attempts"] for each in minutes) == sum(statuses.values())
    assert sum(each["succeeded"] for each in minutes) == statuses["200"] == 60
    assert sum(each["failures"].get("overloaded", 0) for each in minutes) == statuses["529"]
    assert [each["process"] for each in minutes] == sorted(each["process"] for each in minutes)
    assert {each["process"] for each in minutes} == {1, 2}
    assert program.run("report", RESULTS, "-o", "r.html").returncode == 0
    page = (tmp_path / "r.html").read_text()
    assert "All 60 prompts were answered" in page
    assert f"{sum(statuses.values()):,} attempts" in page
    assert "resumed" in page


def test_batches_have_minutes_and_a_time_line(tmp_path: Path) -> None:
    write_prompts(tmp_path, 30)
    scenario = "[batches]\ntime_scale = 600\nduration_s = 600\n"
    with served(tmp_path, scenario) as sandbox:
        program = Program(folder=tmp_path, variables=sandbox.variables)
        options = ("--mode", "batch", "--batch-size", "10", "--no-stdout")
        assert program.run("run", "p.jsonl", *options).returncode == 0
    minutes = json.loads(program.run("status", RESULTS, "--history", "--json").stdout)
    assert sum(each["succeeded"] for each in minutes) == 30
    assert program.run("report", RESULTS, "-o", "r.html").returncode == 0
    page = (tmp_path / "r.html").read_text()
    assert "3 batches, the slowest in" in page
    assert page.count('class="plot"') >= 6
