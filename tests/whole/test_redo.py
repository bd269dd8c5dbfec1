"""Retries with other options: another model, more tokens; the better answer of two is kept."""

from __future__ import annotations

import csv
import json
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.killing import QUICK
from tests.support.odd_relay import Relay, odd_relay
from tests.support.program import Program, Served, served, wait_for

pytestmark = pytest.mark.whole

RESULTS = "p.results.jsonl"
SILENT = ("--no-stdout", "--progress", "none")
HAIKU, OPUS = "claude-haiku-5-5", "claude-opus-4-8"
BATCHES = """
[defaults]
list_lag = "1s"
first_poll = "1s"
"""
SCENARIO = QUICK + "[batches]\nduration_s = 0.5\n[output]\nmean_tokens = 200\nspread = 0.1\n"


def write_prompts(folder: Path, *lines: dict[str, Any]) -> None:
    (folder / "p.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "claude-batch.toml").write_text(BATCHES)


def messages(folder: Path) -> dict[str, dict[str, Any]]:
    """Return by id the message of each result; an empty one where the request has failed."""
    lines = [json.loads(line) for line in (folder / RESULTS).read_text().splitlines()]
    assert len({line["custom_id"] for line in lines}) == len(lines)
    return {line["custom_id"]: line["result"].get("message", {}) for line in lines}


def models(folder: Path) -> Counter[str | None]:
    return Counter(each.get("model") for each in messages(folder).values())


def stops(folder: Path) -> Counter[str]:
    return Counter(each["stop_reason"] for each in messages(folder).values())


def half_of_them_failed(folder: Path, sandbox: Served) -> Program:
    """Return a program whose run has 6 answers and 6 results that failed for their model."""
    lines = [{"prompt": f"Say {n}.", "model": "haiku" if n % 2 else HAIKU} for n in range(12)]
    write_prompts(folder, *lines)
    program = Program(folder=folder, variables=sandbox.variables)
    done = program.run("run", "p.jsonl", *SILENT, "--allow-unknown-model")
    assert done.returncode == 3, done.stderr.decode()
    assert models(folder) == {HAIKU: 6, None: 6}
    return program


@pytest.mark.parametrize(
    ("mode", "command"), [("live", "resume"), ("batch", "resume"), ("live", "run")]
)
def test_what_failed_for_its_model_is_redone_with_another(
    tmp_path: Path, mode: str, command: str
) -> None:
    with served(tmp_path, SCENARIO) as sandbox:
        program = half_of_them_failed(tmp_path, sandbox)
        before = messages(tmp_path)
        order = (command, RESULTS if command == "resume" else "p.jsonl", "--retry-errored")
        done = program.run(*order, "--model", OPUS, "--mode", mode, *SILENT)
    assert done.returncode == 0, done.stderr.decode()
    assert b"6 earlier results replaced" in done.stderr
    after = messages(tmp_path)
    assert models(tmp_path) == {HAIKU: 6, OPUS: 6}
    assert {name: after[name] for name, each in before.items() if each} == {
        name: each for name, each in before.items() if each
    }


def test_a_redo_that_is_killed_goes_on_with_the_same_model(tmp_path: Path) -> None:
    with served(tmp_path, SCENARIO.replace("base_s = 0.2", "base_s = 1")) as sandbox:
        program = half_of_them_failed(tmp_path, sandbox)
        order = ("--retry-errored", "--model", OPUS, "--concurrency", "1")
        process = program.start("resume", RESULTS, *order, *SILENT)
        wait_for(lambda: 6 < len((tmp_path / RESULTS).read_text().splitlines()) < 12)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        status = program.run("status", RESULTS).stdout.decode()
        done = program.run("resume", RESULTS, *SILENT)
        stats = sandbox.stats()
    assert f"claude-batch resume {RESULTS}" in status
    assert done.returncode == 0, done.stderr.decode()
    assert f"continuing the retry of 6 requests with --model {OPUS}".encode() in done.stderr
    assert models(tmp_path) == {HAIKU: 6, OPUS: 6}
    assert stats["succeeded_twice"] <= 1


def test_a_redo_whose_batch_is_at_the_api_is_collected_and_sends_nothing_in_another_way(
    tmp_path: Path,
) -> None:
    with served(tmp_path, SCENARIO) as sandbox:
        program = half_of_them_failed(tmp_path, sandbox)
        order = ("resume", RESULTS, "--retry-errored", "--mode", "batch", *SILENT)
        left = program.run(*order, "--model", OPUS, "--detach")
        there = models(tmp_path).total()
        other = program.run(*order, "--model", "claude-sonnet-5-5")
        done = program.run("resume", RESULTS, *SILENT)
    assert (left.returncode, there) == (6, 12), left.stderr.decode()
    assert (other.returncode, done.returncode) == (2, 0), done.stderr.decode()
    assert f"a retry with --model {OPUS} are in progress".encode() in other.stderr
    assert models(tmp_path) == {HAIKU: 6, OPUS: 6}


@pytest.mark.parametrize("mode", ["live", "batch"])
def test_answers_that_were_cut_off_are_redone_with_more_tokens(tmp_path: Path, mode: str) -> None:
    write_prompts(tmp_path, *({"prompt": f"Write about {n}."} for n in range(6)))
    with served(tmp_path, SCENARIO) as sandbox:
        program = Program(folder=tmp_path, variables=sandbox.variables)
        cut = program.run("run", "p.jsonl", "--max-tokens", "8", "--mode", mode, *SILENT)
        as_they_were = stops(tmp_path)
        order = ("resume", RESULTS, "--retry-stop", "max_tokens")
        refused = program.run(*order, *SILENT)
        done = program.run(*order, "--max-tokens", "4000", *SILENT)
    assert (cut.returncode, refused.returncode, done.returncode) == (0, 2, 0), done.stderr.decode()
    assert b"of these: 6 cut off by max_tokens" in cut.stderr
    assert (as_they_were, stops(tmp_path)) == ({"max_tokens": 6}, {"end_turn": 6})


def test_a_worse_answer_is_kept_beside_and_counted(tmp_path: Path) -> None:
    write_prompts(tmp_path, *({"prompt": f"Write about {n}."} for n in range(6)))
    with served(tmp_path, SCENARIO) as sandbox:
        program = Program(folder=tmp_path, variables=sandbox.variables)
        program.run("run", "p.jsonl", "--max-tokens", "50", *SILENT)
        before = sorted((tmp_path / RESULTS).read_bytes().splitlines())
        order = ("--retry-stop", "max_tokens", "--max-tokens", "8", "--progress", "json")
        done = program.run("run", "p.jsonl", "--max-tokens", "50", "--no-stdout")
        redone = program.run("resume", RESULTS, *order, "--no-stdout")
        end = json.loads(redone.stderr.splitlines()[-1])
    assert (done.returncode, redone.returncode) == (0, 0), redone.stderr.decode()
    assert b"6 earlier results put back: the retry has brought nothing better" in redone.stderr
    assert sorted((tmp_path / RESULTS).read_bytes().splitlines()) == before
    assert (tmp_path / f"{RESULTS}.retried").read_text().count('"max_tokens"') == 6
    assert end["output_tokens"] == 6 * (50 + 8)
    assert end["stop_reasons"] == {"max_tokens": 6}


def test_a_redo_that_is_refused_at_its_start_leaves_every_result_in_its_place(
    tmp_path: Path,
) -> None:
    with served(tmp_path, SCENARIO) as sandbox:
        program = half_of_them_failed(tmp_path, sandbox)
        before = sorted((tmp_path / RESULTS).read_bytes().splitlines())
        order = ("resume", RESULTS, "--retry-errored", *SILENT)
        refused = [
            program.run(*order, "--model", OPUS, "--max-cost", "0.000001"),
            program.run(*order, "--model", "opsu-nobody-knows"),
            program.run("resume", RESULTS, "--model", OPUS, *SILENT),
        ]
    assert [each.returncode for each in refused] == [6, 2, 2]
    assert sorted((tmp_path / RESULTS).read_bytes().splitlines()) == before


def test_a_table_has_the_answers_of_a_redo(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("topic\nwind\nrain\nsnow\n")
    (tmp_path / "labels.json").write_text(
        '{"type": "object", "properties": {"label": {"type": "string"}}, "required": ["label"], '
        '"additionalProperties": false}'
    )
    run = ("run", "in.csv", "--prompt", "Label {{topic}}.", "--schema", "labels.json")
    with served(tmp_path, QUICK) as sandbox:
        program = Program(folder=tmp_path, variables=sandbox.variables)
        cut = program.run(*run, "-o", "out.csv", "--max-tokens", "1", *SILENT)
        status = json.loads(program.run("status", "out.csv", "--json").stdout)
        redo = ("--retry-stop", "max_tokens", "--max-tokens", "4000")
        done = program.run("resume", "out.csv", *redo, *SILENT)
    assert (cut.returncode, done.returncode) == (3, 0), done.stderr.decode()
    assert (status["output_errors"], status["stop_reasons"]) == (3, {"max_tokens": 3})
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["topic"] for row in rows] == ["wind", "rain", "snow"]
    assert {row["answer_stop_reason"] for row in rows} == {"end_turn"}
    assert all(row["answer_label"] for row in rows)


STOPPED = ("hi", "decline this", "a poem", "another poem", "search it")
COUNTED = {"refusal": 1, "max_tokens": 2, "pause_turn": 1}
SAID = "1 refused, 2 cut off by max_tokens, 1 paused (pause_turn)"


def at(relay: Relay, folder: Path) -> Program:
    variables = {"ANTHROPIC_BASE_URL": f"http://{relay.host}", "ANTHROPIC_API_KEY": "key"}
    return Program(folder=folder, variables=variables)


def test_answers_that_are_not_what_was_asked_for_are_counted_everywhere(tmp_path: Path) -> None:
    write_prompts(tmp_path, *({"prompt": each} for each in STOPPED))
    with odd_relay() as relay:
        program = at(relay, tmp_path)
        told = program.run("run", "p.jsonl", "--no-stdout", "--progress", "json")
        again = program.run("run", "p.jsonl", "--no-stdout", "--progress", "json")
        status = program.run("status", RESULTS).stdout.decode()
        as_json = json.loads(program.run("status", RESULTS, "--json").stdout)
        order = ("--retry-stop", "refusal", "--retry-stop", "max_tokens", "--max-tokens", "2000")
        redone = program.run("resume", RESULTS, *order, "--no-stdout", "--progress", "json")
    ends = [json.loads(each.stderr.splitlines()[-1]) for each in (told, again, redone)]
    assert (told.returncode, redone.returncode) == (0, 0)
    assert ends[0]["message"] == f"finished: every request succeeded; of these: {SAID}"
    assert [end["stop_reasons"] for end in ends] == [
        COUNTED,
        COUNTED,
        {"refusal": 1, "pause_turn": 1},
    ]
    assert SAID in status
    assert as_json["stop_reasons"] == COUNTED
    assert b"2 earlier results replaced" in redone.stderr
    assert b"1 earlier result put back" in redone.stderr  # it was refused again


@pytest.mark.parametrize("mode", ["live", "batch"])
def test_refusals_and_answers_that_break_their_schema_are_counted_while_a_run_goes_on(
    tmp_path: Path, mode: str
) -> None:
    write_prompts(tmp_path, *({"prompt": f"Label {n}."} for n in range(40)))
    (tmp_path / "labels.json").write_text('{"type": "object", "additionalProperties": false}')
    scenario = f"{SCENARIO}refusals = 0.3\nignores_schemas = 0.3\n"
    with served(tmp_path, scenario) as sandbox:
        program = Program(folder=tmp_path, variables=sandbox.variables)
        order = ("--schema", "labels.json", "--mode", mode, "--no-stdout", "--progress", "json")
        told = program.run("run", "p.jsonl", *order)
        text = program.run("resume", RESULTS, "--no-stdout", "--progress", "plain")
    lines = [json.loads(line) for line in told.stderr.splitlines()]
    refused = stops(tmp_path)["refusal"]
    broken = (tmp_path / RESULTS).read_text().count('"output_error"')
    assert (refused > 0, broken > 0, told.returncode) == (True, True, 3)
    assert lines[-1]["stop_reasons"] == {"refusal": refused}
    assert lines[-1]["output_errors"] == broken
    assert f"{refused} refused  {broken} break the schema".encode() in text.stderr
