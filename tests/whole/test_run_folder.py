"""A run over many files: every id once, whatever happens, and however many processes work on it."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from claude_batch.core.shards.claims import SILENT_S
from tests.support.killing import QUICK
from tests.support.program import Program, Started, served, wait_for

pytestmark = pytest.mark.whole

STEADY = QUICK.replace("base_s = 0.2", "base_s = 0.05")


def write(folder: Path, name: str, lines: int) -> None:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f'"{name}, question {line}?"\n' for line in range(1, lines + 1)))


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with served(tmp_path_factory.mktemp("api"), STEADY) as sandbox:
        yield sandbox.variables


@pytest.fixture
def program(tmp_path: Path, api: dict[str, str]) -> Program:
    for name in ("a", "b"):
        write(tmp_path, f"in/{name}.jsonl", 60)
    return Program(folder=tmp_path, variables=api)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, api: dict[str, str]) -> Program:
    """Return the program beside a run folder that is finished; commands are to be refused."""
    folder = tmp_path_factory.mktemp("made")
    for name in ("a", "b"):
        write(folder, f"in/{name}.jsonl", 2)
    (folder / "out").mkdir()  # an empty one is as good as none
    program = Program(folder=folder, variables=api)
    assert program.run("run", "in", "--out", "out/").returncode == 0
    return program


def ids(program: Program, *arguments: str) -> list[str]:
    """Return the ids of the results, as they are printed."""
    printed = program.run("results", "out/", "--ordered", *arguments)
    assert printed.returncode == 0
    return [json.loads(line)["custom_id"] for line in printed.stdout.splitlines()]


def status(program: Program) -> dict[str, Any]:
    shown = program.run("status", "out/", "--json")
    assert shown.returncode == 0, shown.stderr
    found: dict[str, Any] = json.loads(shown.stdout)
    return found


def there(program: Program) -> int:
    """Return how many results all shards have, in whatever epoch."""
    found: dict[str, int] = {}
    for path in program.folder.glob("out/shards/*/*.results.jsonl"):
        shard = path.parent.name
        with suppress(FileNotFoundError):  # an earlier epoch, tidied up
            found[shard] = max(found.get(shard, 0), path.read_bytes().count(b"\n"))
    return sum(found.values())


def ended(processes: list[Started]) -> bool:
    return all(each.poll() is not None for each in processes)


ALL = [f"{name}.jsonl:{line}" for name in "ab" for line in range(1, 61)]


def test_several_files_have_their_results_in_one_folder(program: Program) -> None:
    run = program.run("run", "in/a.jsonl", "in/b.jsonl", "--out", "out/", "--shard-size", "25")
    assert (run.returncode, run.stdout) == (0, b"")
    assert ids(program) == ALL
    found = status(program)
    assert (found["state"], found["shards_finished"], found["done"]) == ("finished", 6, 120)
    again = program.run("run", "in/a.jsonl", "in/b.jsonl", "--out", "out/", "--shard-size", "25")
    assert (again.returncode, len(ids(program))) == (0, 120)
    assert "6 of 6 shards finished" in again.stderr.decode()
    assert program.run("report", "out/").returncode == 0
    page = (program.folder / "out.report.html").read_text()
    assert "out/ (6 shards)" in page
    assert "b.jsonl, question 60?" in page
    assert "out/" in program.run("status").stdout.decode()


def test_all_results_go_to_stdout_too_unless_only_new_ones_should(program: Program) -> None:
    command = ("run", "in", "--out", "out/", "--shard-size", "60", "--stdout")
    for flags, printed in (((), 120), ((), 120), (("--new-only",), 0)):
        lines = program.run(*command, *flags).stdout.splitlines()
        assert len({json.loads(line)["custom_id"] for line in lines}) == len(lines) == printed


def test_scripts_read_of_each_shard_and_of_the_whole_and_one_end(program: Program) -> None:
    run = program.run("run", "in", "--out", "out/", "--shard-size", "60", "--progress", "json")
    said = [json.loads(line) for line in run.stderr.splitlines()]
    shards = [each["folder"] for each in said if each["type"] == "progress"]
    assert {each["shard"] for each in shards} <= {1, 2}
    assert shards
    (end,) = [each for each in said if each["type"] == "end"]
    assert (end["done"], end["phase"], end["exit_code"]) == (120, "finished", 0)
    assert (end["folder"]["finished"], end["folder"]["shards"]) == (2, 2)


def adjust(program: Program, *flags: str) -> str:
    """Change what works on the folder; a busy machine may take longer, and is asked again."""
    done = program.run("adjust", "out/", *flags)
    if b"within 2 s" in done.stderr or b"try again" in done.stderr:
        return adjust(program, *flags)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def test_what_is_changed_stays_for_the_shards_that_follow(program: Program) -> None:
    logged = ("--log", "attempts.jsonl", "--rpm", "60")
    process = program.start("run", "in", "--out", "out/", "--shard-size", "40", *logged)
    first = program.folder / "out/shards/0001/1.results.jsonl"
    wait_for(lambda: first.exists() and first.read_bytes().count(b"\n") > 0)
    assert "shard 1: paused" in adjust(program, "--pause")
    assert "max-cost 5 from now on" in adjust(program, "--max-cost", "5")
    assert status(program)["max_cost_usd"] == 5.0
    assert (
        b"to continue: claude-batch adjust out/ --continue" in program.run("status", "out/").stdout
    )
    (begun,) = [each for each in status(program)["per_shard"] if each["state"] == "running"]
    elsewhere = program.run("adjust", "out/", "--shard", "2", "--rpm", "9")
    assert (elsewhere.returncode, b"no process works on it" in elsewhere.stderr) == (2, True)
    assert "rpm none from now on" in adjust(program, "--rpm", "none", "--continue")
    process.communicate()
    assert (process.returncode, begun["shard"]) == (0, 1)
    assert ids(program) == ALL
    attempts = (program.folder / "attempts.jsonl").read_bytes().splitlines()
    assert len({json.loads(each)["custom_id"] for each in attempts}) == 120
    idle = program.run("adjust", "out/", "--rpm", "60")
    assert (idle.returncode, b"no process works on it" in idle.stderr) == (2, True)


def test_one_watches_what_others_work_on(program: Program) -> None:
    process = program.start("run", "in", "--out", "out/", "--shard-size", "60", "--rpm", "600")
    first = program.folder / "out/shards/0001/1.results.jsonl"
    wait_for(lambda: first.exists() and first.read_bytes().count(b"\n") > 3)
    found = status(program)
    (begun,) = [each for each in found["per_shard"] if each["state"] == "running"]
    assert (found["shards_running"], found["shards_waiting"], begun["shard"]) == (1, 1, 1)
    assert begun["holder"].startswith(f"process {process.pid} on ")
    watched = program.run("status", "out/", "--watch").stdout.decode()
    process.communicate()
    assert "shards finished" in watched
    assert "2 of 2 shards finished" in watched.splitlines()[-1]
    history = json.loads(program.run("status", "out/", "--history", "--json").stdout)
    assert sum(each["succeeded"] for each in history) == 120
    (listed,) = json.loads(program.run("status", "--json").stdout)
    assert (listed["done"], listed["left"], listed["failed"]) == (120, 0, 0)
    idle = program.run("status", "out/", "--watch")
    assert (idle.returncode, b"no process works on" in idle.stdout) == (0, True)


@pytest.mark.parametrize("again", [("run", "in/*.jsonl", "--out", "out/"), ("resume", "out/")])
def test_after_a_kill_the_same_command_and_resume_do_the_rest(
    program: Program, again: tuple[str, ...]
) -> None:
    slow = ("--concurrency", "1")
    process = program.start("run", "in/*.jsonl", "--out", "out/", "--shard-size", "50", *slow)
    first = program.folder / "out/shards/0001/1.results.jsonl"
    wait_for(lambda: first.exists() and first.read_bytes().count(b"\n") > 10)
    process.kill()
    process.communicate()
    before = len(ids(program))
    size = ("--shard-size", "50") if again[0] == "run" else ()
    assert before < 120
    assert program.run(*again, *size, "--concurrency", "none").returncode == 0
    assert ids(program) == ALL


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
def test_kills_at_any_moment_lose_nothing_and_double_nothing(program: Program, seed: int) -> None:
    rng = random.Random(seed)
    command = ("run", "in/", "--out", "out/", "--shard-size", "15", "--concurrency", "3")
    for _ in range(6):
        process = program.start(*command)
        time.sleep(rng.uniform(0.3, 1.6))
        process.kill()
        process.communicate()
    assert program.run(*command).returncode == 0
    assert ids(program) == ALL


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
def test_kills_of_several_processes_lose_nothing_and_double_nothing(
    program: Program, seed: int
) -> None:
    rng, rows = random.Random(seed), program.folder / "rows"
    rows.mkdir()
    for name, begin in (("x", 0), ("y", 60)):
        lines = "".join(f"{n},row {n}\n" for n in range(begin, begin + 60))
        (rows / f"{name}.csv").write_text("id,text\n" + lines)
    asked = ("--prompt", "Classify: {{text}}", "--max-tokens", "60", "--concurrency", "2")
    command = ("run", "rows", "--out", "out/", "--shard-size", "21", *asked, "--max-cost", "0.002")
    for _ in range(6):
        processes = [program.start(*command) for _ in range(3)]
        goal = there(program) + rng.randint(0, 15)
        wait_for(lambda goal=goal, processes=processes: ended(processes) or there(program) > goal)
        for each in processes:
            time.sleep(rng.uniform(0.0, 0.1))
            each.kill()
        for each in processes:
            each.communicate()
    found = status(program)
    assert (found["shards"], (found["cost_usd"] or 0.0) <= 0.002) == (6, True)
    ends = [program.start(*command) for _ in range(3)]
    said = [each.communicate() for each in ends]
    assert {each.returncode for each in ends} <= {0, 6}, said
    done = program.run("resume", "out/", "--max-cost", "5")
    assert done.returncode == 0, done.stderr
    assert sorted(map(int, ids(program))) == list(range(120))
    assert program.run("results", "out/", "-o", "all.csv").returncode == 0
    with (program.folder / "all.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["id"] for row in table] == [str(number) for number in range(120)]
    assert {row["answer_status"] for row in table} == {"succeeded"}


def test_processes_at_once_do_each_shard_once(program: Program) -> None:
    command = ("run", "in/", "--out", "out/", "--shard-size", "20", "--concurrency", "4")
    processes = [program.start(*command) for _ in range(3)]
    ends = [(each.communicate(), each.returncode) for each in processes]
    assert {code for _, code in ends} <= {0, 6}, ends
    assert program.run("resume", "out/").returncode == 0
    assert ids(program) == ALL


def test_shards_are_worked_off_one_by_one(program: Program) -> None:
    made = program.run("run", "in", "--out", "out/", "--shard-size", "50", "--shard", "1")
    assert made.returncode == 0
    assert status(program)["shards_finished"] == 1
    for shard in "432":
        assert program.run("run", "out/", "--shard", shard).returncode == 0
    again = program.run("run", "out/", "--shard", "2", "--progress", "plain")
    assert (again.returncode, b"shard 2 is finished: 10 of 10" in again.stderr) == (0, True)
    assert ids(program) == ALL


def test_a_run_folder_need_not_be_named(program: Program) -> None:
    size = ("--shard-size", "60", "--shard", "1")
    assert program.run("run", "in", "--out", "deep/labeled/", *size).returncode == 0
    shown = program.run("status").stdout.decode()
    assert "deep/labeled/" in shown
    assert "1 of 2 shards finished" in shown
    assert program.run("resume").returncode == 0
    printed = program.run("results", "--ordered")
    assert b"the results of deep/labeled/" in printed.stderr
    assert [json.loads(line)["custom_id"] for line in printed.stdout.splitlines()] == ALL
    nothing = program.run("resume")
    assert (nothing.returncode, b"no unfinished run" in nothing.stderr) == (2, True)
    for command in ("results", "resume", "status", "report"):
        mistyped = program.run(command, "deep/labelled")
        assert (mistyped.returncode, b"deep/labeled?" in mistyped.stderr) == (2, True)


def test_a_zombie_changes_nothing(program: Program) -> None:
    process = program.start("run", "in", "--out", "out/", "--shard-size", "60", "--rpm", "300")
    first = program.folder / "out/shards/0001/1.results.jsonl"
    wait_for(lambda: first.exists() and first.read_bytes().count(b"\n") > 3)
    process.send_signal(signal.SIGSTOP)
    held = program.run("run", "out/", "--shard", "1")
    assert (held.returncode, b"is being worked on" in held.stderr) == (5, True)
    claim, long_ago = program.folder / "out/claims/0001-1", time.time() - SILENT_S - 1
    os.utime(claim, (long_ago, long_ago))  # as if it had been stopped for so long
    assert program.run("run", "out/", "--shard", "1", "--rpm", "none").returncode == 0
    process.send_signal(signal.SIGCONT)
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert program.run("resume", "out/", "--rpm", "none").returncode == 0
    assert ids(program) == ALL


@pytest.mark.parametrize(
    "shards",
    [1, 4, pytest.param(7, marks=pytest.mark.long), pytest.param(9, marks=pytest.mark.long)],
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_any_moment_stops_before_another_shard(
    program: Program, number: int, shards: int
) -> None:
    process = program.start("run", "in", "--out", "out/", "--shard-size", "5")
    wait_for(lambda: len(list(program.folder.glob("out/shards/*/done.json"))) >= shards)
    process.send_signal(number)
    said = " ".join(process.communicate()[1].decode().split())
    assert process.returncode == 128 + number, said
    assert "interrupted;" in said
    assert "continue claude-batch resume out/" in said
    assert program.run("resume", "out/").returncode == 0
    assert ids(program) == ALL


@pytest.mark.parametrize("moves", [False, True])
def test_a_run_whose_folder_is_moved_or_removed_stops_and_buys_nothing_more(
    program: Program, *, moves: bool
) -> None:
    out, slow = program.folder / "out", ("--concurrency", "2")
    process = program.start("run", "in", "--out", "out/", "--shard-size", "20", *slow)
    first = out / "shards/0001/1.results.jsonl"
    wait_for(lambda: first.exists() and first.read_bytes().count(b"\n") > 3)
    moved = out.rename(program.folder / "moved")
    if not moves:
        shutil.rmtree(moved)
    said = process.communicate()[1].decode()
    assert (process.returncode, "out/ was moved or removed while" in said) == (5, True), said
    assert not out.exists()
    if moves:
        assert len(list(moved.glob("shards/*"))) == 1
        assert program.run("resume", "moved/", "--concurrency", "none").returncode == 0
        printed = program.run("results", "moved/", "--ordered").stdout
        assert [json.loads(line)["custom_id"] for line in printed.splitlines()] == ALL


def test_the_bound_on_the_cost_is_that_of_all_shards(program: Program) -> None:
    bounded = ("--max-tokens", "60", "--max-cost", "0.003")
    run = program.run("run", "in", "--out", "out/", "--shard-size", "20", *bounded)
    found = status(program)
    assert run.returncode == 6
    assert 0.002 < found["cost_usd"] <= 0.003
    again = program.run("resume", "out/")
    assert (again.returncode, b"--max-cost" in again.stderr) == (6, True)  # it is met already
    shown = program.run("status", "out/").stdout.decode()
    assert " of 0.003 USD" in shown
    for printed in (shown, run.stderr.decode()):
        assert re.search(r"[\d.]+ of [\d.]+ USD spent", printed) is None  # of a shard
        assert "--max-cost" in printed.rpartition("claude-batch resume out/")[2]
    command = run.stderr.decode().rpartition("claude-batch ")[2].split()
    assert program.run(*command).returncode == 0
    assert ids(program) == ALL


def test_a_bound_that_resume_was_given_stays_until_it_is_unset(program: Program) -> None:
    size = ("--shard-size", "20", "--max-tokens", "60")
    assert program.run("run", "in", "--out", "out/", *size, "--shard", "1").returncode == 0
    low = program.run("resume", "out/", "--max-cost", "0.0000001")
    assert (low.returncode, status(program)["max_cost_usd"]) == (6, None)  # it was refused
    assert program.run("resume", "out/", "--max-cost", "0.002").returncode == 6
    for again in (("resume", "out/"), ("run", "out/", "--shard", "6"), ("resume", "out/")):
        said = program.run(*again)
        assert said.returncode == 6
        assert b"Using --max-cost 0.002 from this run folder" in said.stderr
    found = status(program)
    assert (found["max_cost_usd"], found["cost_usd"] <= 0.002) == (0.002, True)
    alone = program.run("run", "out/", "--shard", "6", "--max-cost", "5")
    assert (alone.returncode, b"USD of --max-cost for all" in alone.stderr) == (0, True)
    assert status(program)["max_cost_usd"] == 5.0
    assert program.run("resume", "out/", "--max-cost", "none").returncode == 0
    assert (status(program)["max_cost_usd"], ids(program)) == (None, ALL)


def test_a_bound_that_is_too_low_names_one_that_will_do(program: Program) -> None:
    bounded = ("--max-tokens", "60", "--max-cost", "0.0000001")
    run = program.run("run", "in", "--out", "out/", "--shard-size", "50", *bounded)
    found = status(program)
    assert (run.returncode, found["done"]) == (2, 0)
    again = program.run("resume", "out/")
    assert (again.returncode, found["next_command"].encode() in again.stderr) == (2, True)
    command = run.stderr.decode().rpartition("claude-batch ")[2].split()
    assert found["next_command"].split()[1:] == command
    assert program.run(*command).returncode == 0
    assert ids(program) == ALL


def test_rows_of_tables_become_one_table(program: Program) -> None:
    folder = program.folder / "rows"
    folder.mkdir()
    (folder / "x.csv").write_text("id,text\n" + "".join(f"{n},row {n}\n" for n in range(30)))
    (folder / "y.csv").write_text('id,text\n30,"two\nlines"\n31,last\n')
    prompt = ("--prompt", "Classify: {{text}}", "--shard-size", "10")
    assert program.run("run", "rows/*.csv", "--out", "out/", *prompt).returncode == 0
    assert program.run("results", "out/", "-o", "all.csv").returncode == 0
    with (program.folder / "all.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [str(number) for number in range(32)]
    assert Counter(row["answer_status"] for row in rows) == {"succeeded": 32}
    assert rows[30]["text"] == "two\nlines"
    assert ids(program)[-2:] == ["30", "31"]
    assert [row["answer_file"] for row in rows] == ["x.csv"] * 30 + ["y.csv"] * 2
    assert program.run("results", "out/", "-o", "all.tsv").returncode == 0
    assert b"answer_file" in (program.folder / "all.tsv").read_bytes()
    alone = program.run("run", "rows/x.csv", "--out", "alone/", *prompt)
    assert (alone.returncode, program.run("results", "alone/", "-o", "x.csv").returncode) == (0, 0)
    assert "answer_file" not in (program.folder / "x.csv").read_text()


def test_equal_prompts_are_sent_once_per_shard_and_with_a_cache_once_in_all(
    program: Program,
) -> None:
    (program.folder / "same.jsonl").write_text('"one"\n"two"\n' * 20)
    for folder, sent, cached in (("out/", 8, ()), ("out2/", 2, ("--cache-url", "sqlite:///c.db"))):
        run = program.run(
            *("run", "same.jsonl", "--out", folder, "--shard-size", "10", "--dedupe", *cached)
        )
        assert run.returncode == 0, run.stderr.decode()
        printed = program.run("results", folder).stdout.splitlines()
        metas = [json.loads(line)["meta"] for line in printed]
        assert (len(metas), sum(not meta.get("cached") for meta in metas)) == (40, sent)


def test_rows_are_counted_without_headers_from_the_start(program: Program) -> None:
    (program.folder / "rows").mkdir()
    for name in "xy":
        rows = "".join(f"row {name}{n}\n" for n in range(25))
        (program.folder / f"rows/{name}.csv").write_text(f"text\n{rows}")
    run = ("run", "rows", "--out", "out/", "--prompt", "{{text}}", "--shard-size", "10")
    assert program.run(*run, "--max-cost", "0.000001").returncode in {2, 6}  # too little
    for _ in range(2):
        found = status(program)
        assert (found["shards"], found["total"]) == (6, 50)
        assert program.run(*run, "--max-cost", "none").returncode == 0
    assert ids(program) == [f"{name}.csv:{line}" for name in "xy" for line in range(2, 27)]
    assert [each["lines"] for each in found["per_shard"]] == [10, 10, 5] * 2
    assert [each["total"] for each in found["per_shard"]] == [10, 10, 5] * 2


def test_status_says_why_a_shard_was_refused_before_it_sent_anything(program: Program) -> None:
    with (program.folder / "in/b.jsonl").open("a") as file:
        file.write('{"prompt": 5}\n')
    assert program.run("run", "in", "--out", "out/").returncode == 2
    bad = status(program)
    shard = bad["per_shard"][1]
    assert (bad["state"], shard["state"]) == ("interrupted", "failed")
    assert "1 bad line" in shard["why"]
    shown = " ".join(program.run("status", "out/").stdout.decode().split())
    assert "shard 2" in shown
    assert "1 bad line" in shown
    assert program.run("resume", "out/", "--skip-invalid").returncode == 3
    assert status(program)["per_shard"][1]["why"] == ""


def test_what_failed_is_retried_in_all_shards(program: Program) -> None:
    lines = [json.dumps({"prompt": "again?", "model": "claude-none"})] * 3
    (program.folder / "in/b.jsonl").write_text("\n".join(['"good"', *lines]) + "\n")
    unknown = ("--allow-unknown-model", "--yes")
    run = program.run("run", "in", "--out", "out/", "--shard-size", "2", *unknown)
    assert run.returncode == 3, run.stderr
    assert b"--retry-errored" in run.stderr
    again = ("resume", "out/", "--retry-errored", "--model", "claude-haiku-5-5")
    assert program.run(*again).returncode == 0
    assert (status(program)["failed"], len(ids(program))) == (0, 64)


def cut_off(program: Program) -> None:
    """Finish a folder of two shards, all of whose answers are cut off."""
    assert program.run("run", "in", "--out", "out/", "--max-tokens", "2").returncode == 0


RETRY = ("--retry-stop", "max_tokens", "--max-tokens", "500")


def whole_answers(program: Program) -> int:
    return program.run("results", "out/").stdout.count(b'"stop_reason":"end_turn"')


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_retry_that_is_interrupted_is_shown_and_continued(
    program: Program, how: signal.Signals
) -> None:
    cut_off(program)
    before = status(program)
    process = program.start("resume", "out/", *RETRY, "--rpm", "600")
    second = program.folder / "out/shards/0001/2.results.jsonl"
    wait_for(lambda: second.exists() and 10 <= second.read_bytes().count(b"end_turn") < 30)
    process.send_signal(how)
    process.communicate()
    found = status(program)
    assert (found["state"], found["shards_finished"]) == ("interrupted", 1)
    assert found["next_command"] == "claude-batch resume out/"
    assert found["done"] == 120
    assert found["cost_usd"] > before["cost_usd"]
    new = whole_answers(program)
    assert new >= 10
    assert Counter(ids(program)) == Counter(ALL)
    assert b" are still to be retried" in program.run("status", "out/").stdout
    assert program.run("report", "out/").returncode == 0
    resumed = program.run("resume", "out/", "--rpm", "none")
    assert resumed.returncode == 0, resumed.stderr
    assert (status(program)["state"], whole_answers(program)) == ("finished", 60)
    assert Counter(ids(program)) == Counter(ALL)
    (journal,) = program.folder.glob("out/shards/0001/3.*.journal")
    last = journal.read_text().rpartition('"type":"opened"')[2]
    attempts = [json.loads(each)["attempts"] for each in last.splitlines() if '"minute"' in each]
    assert sum(attempts) == 60 - new  # none that was answered is paid for again


def test_a_retry_that_is_refused_changes_nothing(program: Program) -> None:
    cut_off(program)
    before = status(program)
    refused = program.run("resume", "out/", *RETRY, "--model", "claude-none")
    assert refused.returncode == 2
    changes = {"per_shard": 0, "last_activity_at": 0}
    assert {**status(program), **changes} == {**before, **changes}
    assert program.run("resume", "out/").returncode == 0


def test_another_retry_keeps_what_an_interrupted_one_has_brought(program: Program) -> None:
    cut_off(program)
    process = program.start("resume", "out/", *RETRY, "--rpm", "600")
    second = program.folder / "out/shards/0001/2.results.jsonl"
    wait_for(lambda: second.exists() and second.read_bytes().count(b"end_turn") >= 10)
    process.kill()
    process.communicate()
    new = whole_answers(program)
    assert program.run("resume", "out/", "--retry-errored").returncode == 0
    found = status(program)
    assert (found["state"], whole_answers(program)) == ("finished", new)
    assert Counter(ids(program)) == Counter(ALL)


def test_batches_of_a_retry_are_left_running_and_collected(program: Program) -> None:
    line = json.dumps({"prompt": "again?", "model": "claude-none"})
    (program.folder / "in/b.jsonl").write_text(f'"good"\n{line}\n')
    unknown = ("--allow-unknown-model", "--yes")
    assert program.run("run", "in", "--out", "out/", *unknown).returncode == 3
    again = ("--retry-errored", "--model", "claude-haiku-5-5", "--mode", "batch", "--detach")
    submitted = program.run("resume", "out/", *again, "--no-canary")
    assert submitted.returncode == 6, submitted.stderr
    assert b"claude-batch resume out/" in submitted.stderr
    assert status(program)["state"] == "interrupted"
    assert Counter(ids(program)) == Counter(["b.jsonl:1", "b.jsonl:2", *ALL[:60]])
    assert program.run("resume", "out/").returncode == 0
    found = status(program)
    assert (found["state"], found["failed"]) == ("finished", 0)


def test_ids_that_two_files_have_are_refused_before_anything_is_sent(program: Program) -> None:
    for name in "ab":
        rows = (json.dumps({"custom_id": f"q{n}", "prompt": f"{name} {n}?"}) for n in range(3))
        (program.folder / f"in/{name}.jsonl").write_text("\n".join(rows) + "\n")
    command = ("run", "in", "--out", "out/", "--shard-size", "2")
    for before in (("check", "in"), command, (*command, "--skip-invalid")):
        refused = program.run(*before)
        assert refused.returncode == 2
        assert "b.jsonl:1 has the id 'q0'" in " ".join(refused.stderr.decode().split())
    assert not (program.folder / "out").exists()
    assert program.run(*command, "--id-column", "none").returncode == 0
    assert ids(program) == [f"{name}.jsonl:{line}" for name in "ab" for line in (1, 2, 3)]


def test_a_column_id_that_is_unique_over_all_files_names_the_results(program: Program) -> None:
    folder = program.folder / "rows"
    folder.mkdir()
    for name, begin in (("x", 1), ("y", 4)):
        rows = "".join(f"{n},row {n}\n" for n in range(begin, begin + 3))
        (folder / f"{name}.csv").write_text("id,text\n" + rows)
    prompt = ("--prompt", "Classify: {{text}}", "--shard-size", "2")
    assert program.run("run", "rows", "--out", "out/", *prompt).returncode == 0
    assert ids(program) == list("123456")
    (folder / "y.csv").write_text("id,text\n1,again\n")
    run = program.run("run", "rows", "--out", "out2/", *prompt)
    assert "The column id is not unique over all files" in " ".join(run.stderr.decode().split())
    (folder / "y.csv").write_text("key,text\n4,again\n")
    check = program.run("check", "rows", *prompt[:2])
    assert "The column id is not there in all files" in " ".join(check.stderr.decode().split())


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (("run", "in/a.jsonl", "in/b.jsonl"), 2, "--out DIR/"),
        (("run", "in/a.jsonl", "-o", "s3://bucket/x.csv"), 2, "go into a folder"),
        (("run", "in/", "-o", "all.csv"), 2, "claude-batch results all/ -o all.csv"),
        (("run", "in/", "-o", "all.json"), 2, "claude-batch results all/ -o all.jsonl"),
        (("run", "in/", "-o", "all.csv"), 2, "the same command with --out all/"),
        (("run", "out/", "--log", "out/log.jsonl"), 2, "is in the run folder"),
        (("run", "in/a.jsonl", "--out", "in/"), 2, "name a new folder: --out in/run1/"),
        (("run", "in/", "-o", "all.cvs"), 2, "did you mean -o all.csv?"),
        (("run", "in/a.jsonl", "-o", "all.cvs"), 2, "did you mean -o all.csv?"),
        (("results", "out/", "-o", "all.xslx"), 2, "did you mean -o all.xlsx?"),
        (("results", "out/", "-o", "all.xl"), 2, ".xl files are not written"),
        (("results", "out/", "-o", "all.json"), 2, "-o all.jsonl; or a table: .csv"),
        (("run", "in/a.jsonl", "-o", "a.json"), 2, "-o a.jsonl; or a table: .csv"),
        (("results", "out/", "-o", "in/"), 2, "name a file in it: -o in/results.csv"),
        (("results", "out/", "-o", "new/"), 2, "name a file in it: -o new/results.csv"),
        (("results", "out/shards/0001/1.results.jsonl", "-o", "in"), 2, "-o in/results.csv"),
        (("report", "out/", "-o", "in"), 2, "name a file in it: -o in/report.html"),
        (("adjust", "out/", "--resume"), 2, "did you mean --continue?"),
        (("adjust", "out/", "--rpm", "9"), 2, "no process works on it now"),
        (("adjust", "out/"), 2, "what should change?"),
        (("adjust", "out/", "--shard", "9", "--pause"), 2, "has shards 1 to 2"),
        (("run", "in"), 2, "--out DIR/"),
        (("run", "in/a.jsonl", "--shard", "1"), 2, "--shard is for run folders"),
        (("run", "out/", "--shard", "9"), 2, "has shards 1 to 2"),
        (("run", "out/", "--model", "other"), 5, "was started without --model, but this"),
        (("run", "in/a.jsonl", "--out", "out/"), 5, "other inputs: "),
        (("run", "out/", "--limit", "3"), 2, "--limit is for the run of one file"),
        (("resume", "out/shards/0001/1.results.jsonl"), 2, "--shard 1"),
        (("resume", "in"), 2, "is no run folder"),
        (("status", "in"), 2, "is no run folder"),
    ],
)
def test_what_cannot_be_done_is_said(
    made: Program, command: tuple[str, ...], code: int, said: str
) -> None:
    refused = made.run(*command)
    assert refused.returncode == code
    assert said in " ".join(refused.stderr.decode().split())


def test_all_inputs_are_checked_before(program: Program) -> None:
    (program.folder / "in/a.jsonl").write_text('"good"\n{"prompt":\n')
    checked = program.run("check", "in/", "--show", "1")
    assert checked.returncode == 2
    assert b"in/a.jsonl:2" in checked.stderr
    assert b"in/b.jsonl" in checked.stdout
    (program.folder / "in/b1.csv").touch()
    left = program.run("check", "in/b*", "--show", "1")
    assert (left.returncode, left.stdout[:1]) == (0, b"{")
    assert b"b1.csv: there are no rows in it" in left.stderr


def test_a_shard_with_bad_lines_sends_nothing_until_they_are_left_out(program: Program) -> None:
    path, bad = program.folder / "in/b.jsonl", '"good"\n{"prompt":\n'
    path.write_text(bad)
    run = program.run("run", "in", "--out", "out/")
    said = run.stderr.decode()
    assert (run.returncode, "in/b.jsonl:2" in said, "nothing of shard 2 was" in said) == (2, 1, 1)
    assert ids(program) == ALL[:60]
    path.write_text('"good"\n"fixed"\n')
    refused = program.run("resume", "out/", "--skip-invalid")
    assert (refused.returncode, b"put the old file back" in refused.stderr) == (5, True)
    path.write_text(bad)
    assert program.run("resume", "out/").returncode == 2  # what was refused is not kept
    command = said.partition("claude-batch ")[2].splitlines()[0].split()
    assert command == ["resume", "out/", "--skip-invalid"]
    assert program.run(*command).returncode == 3  # with a line left out
    for again in (("run", "in", "--out", "out/"), ("run", "out/", "--shard", "1")):
        assert program.run(*again).returncode in {0, 3}
    assert ids(program) == [*ALL[:60], "b.jsonl:1"]
    assert [each["left_out"] for each in status(program)["per_shard"]] == [0, 1]


def test_a_file_that_has_changed_since_is_refused(program: Program) -> None:
    made = program.run("run", "in", "--out", "out/", "--shard-size", "50", "--shard", "1")
    assert made.returncode == 0
    path = program.folder / "in/b.jsonl"
    path.write_text(path.read_text().replace("question 7?", "question 8?"))
    assert program.run("run", "out/", "--shard", "2").returncode == 0
    refused = program.run("run", "out/", "--shard", "3")
    assert (refused.returncode, b"has changed" in refused.stderr) == (5, True)
    path.write_text(path.read_text()[:-30])
    shown = [program.run("status", "out/").stdout.decode()]
    path.unlink()
    gone = program.run("run", "out/", "--shard", "3")
    assert (gone.returncode, b"put it back" in gone.stderr) == (2, True)
    shown.append(program.run("status", "out/").stdout.decode())
    cut, none = (" ".join(each.split()) for each in shown)
    back = "put it back as it was, or"
    assert f"in/b.jsonl has changed: {back} 1 shard cannot be continued" in cut
    assert f"in/b.jsonl is missing: {back} 2 shards cannot be continued" in none
    problems = [each["input_problem"] for each in status(program)["per_shard"]]
    assert problems == [None, None, "missing", "missing"]
