"""The commands around a run, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_help import loaded_by
from tests.support.program import ENOUGH_S, Program, environment, served

pytestmark = pytest.mark.whole

COMMANDS = ("estimate", "limits", "models", "doctor", "cache", "init")
EXTRAS = {"obstore", "opentelemetry", "pyarrow", "python_calamine", "ray", "redis", "zstandard"}
HEAVY = {"anthropic", "aiohttp", "httpx2", "redis", "sqlite3"}
PROMPTS = [{"prompt": f"Name a city in country {n}."} for n in range(50)]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Return the program in a folder with fifty prompts."""
    lines = "".join(json.dumps(prompt) + "\n" for prompt in PROMPTS)
    (tmp_path / "prompts.jsonl").write_text(lines)
    return Program(folder=tmp_path)


def at(program: Program, variables: dict[str, str]) -> Program:
    return Program(folder=program.folder, variables=variables)


@pytest.mark.parametrize("command", COMMANDS)
def test_explaining_a_command_loads_nothing_heavy(command: str) -> None:
    assert not loaded_by(command, "--help") & HEAVY


@pytest.mark.parametrize(
    "arguments", [("models",), ("estimate", "prompts.jsonl")], ids=lambda arguments: arguments[0]
)
def test_what_needs_no_network_loads_no_sdk(
    program: Program, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(program.folder)
    assert not loaded_by(*arguments) & {"anthropic", "pydantic"}


@pytest.mark.parametrize("out", ["results.jsonl", "out/"])
def test_a_plain_run_loads_no_extra(
    program: Program, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    monkeypatch.chdir(program.folder)
    loaded = loaded_by("run", "prompts.jsonl", "--sandbox", "--no-stdout", "--out", out)
    assert (program.folder / out).exists()
    assert not loaded & {*EXTRAS, "pydantic"}


def test_a_piped_estimate_is_a_page_on_stdout_and_nothing_else(program: Program) -> None:
    done = program.run("estimate", "prompts.jsonl", "--expect-output", "20")
    assert done.returncode == 0
    assert done.stdout.decode().splitlines()[0] == "prompts.jsonl  50 requests"
    assert b"\x1b" not in done.stdout
    assert done.stderr == b""


def test_several_files_are_estimated_together(program: Program) -> None:
    (program.folder / "rows.csv").write_text("prompt,n\nhello,1\nthere,2\n")
    done = program.run("estimate", "prompts.jsonl", "*.csv", "--json", "--sample", "9", "--sandbox")
    found = json.loads(done.stdout)
    assert (found["files"], found["requests"], found["counted_lines"]) == (2, 52, 9)
    assert "claude-batch run prompts.jsonl '*.csv'" in found["recommendation"]
    assert "--out out/" in found["recommendation"]
    refused = program.run("estimate", "prompts.jsonl", "rows.csv", "--limit", "5")
    assert refused.returncode == 2
    (program.folder / "bad.jsonl").write_text('{"promt": "x"}\n')
    refused = program.run("estimate", ".")
    assert refused.returncode == 2
    assert b"bad.jsonl: line 1: unknown key 'promt'" in refused.stderr


def test_an_estimate_learns_from_the_run_it_foretold(program: Program) -> None:
    with served(program.folder) as api:
        ran = at(program, api.variables).run("run", "prompts.jsonl", "--no-stdout")
    assert ran.returncode == 0, ran.stderr.decode()
    found = json.loads(program.run("estimate", "prompts.jsonl", "--json").stdout)
    replies = [
        json.loads(line)["result"]["message"]["usage"]["output_tokens"]
        for line in (program.folder / "prompts.results.jsonl").read_text().splitlines()
    ]
    assert found["output_basis"] == "sampled"
    assert found["output_tokens"] == pytest.approx(sum(replies), abs=1)


def test_fifty_thousand_lines_are_estimated_in_little_memory(tmp_path: Path) -> None:
    lines = (f'{{"prompt": "Translate sentence number {n} into French."}}' for n in range(50_000))
    (tmp_path / "large.jsonl").write_text("\n".join(lines))
    measured = (
        "import resource, subprocess, sys\n"
        "done = subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    command = Program.command(["estimate", "large.jsonl", "--sample", "0", "--compare", "a,b"])
    done = subprocess.run(
        [sys.executable, "-c", measured, *command],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        check=True,
        timeout=ENOUGH_S,
    )
    assert int(done.stdout) < 100_000, "kilobytes"


def test_every_command_answers_json_to_a_script(program: Program) -> None:
    with served(program.folder) as api:
        for arguments in (
            ("limits",),
            ("models", "--live"),
            ("doctor",),
            ("cache", "stats"),
            ("estimate", "prompts.jsonl", "--sample", "5", "--learn"),
        ):
            done = at(program, api.variables).run(*arguments, "--json")
            assert done.returncode == 0, done.stderr.decode()
            assert isinstance(json.loads(done.stdout), dict)


def test_init_and_doctor_go_together(program: Program) -> None:
    assert program.run("init").returncode == 0
    with served(program.folder) as api:
        done = at(program, api.variables).run("doctor")
    assert done.returncode == 0, done.stdout.decode()
    assert b"claude-batch.toml; 1 endpoint" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("limits",),
        ("models", "--live"),
        ("doctor",),
        ("estimate", "prompts.jsonl", "--sample", "5"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_an_endpoint_that_is_down_is_a_message(
    program: Program, arguments: tuple[str, ...]
) -> None:
    down = {"ANTHROPIC_BASE_URL": "http://127.0.0.1:9", "ANTHROPIC_API_KEY": "marked-secret"}
    done = at(program, down).run(*arguments)
    assert done.returncode in {0, 4}
    assert b"network" in done.stdout + done.stderr
    assert b"Traceback" not in done.stderr
    assert b"marked-secret" not in done.stdout + done.stderr


def test_a_reader_that_leaves_early_is_no_error(program: Program) -> None:
    done = program.shell("claude-batch models | head -1; exit ${PIPESTATUS[1]}")
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
    assert b"bug" not in done.stderr


def test_text_for_people_fails_on_no_encoding(tmp_path: Path) -> None:
    (tmp_path / "é.jsonl").write_text('{"custom_id": "é", "prompt": "hé"}\n')
    program = Program(folder=tmp_path, variables={"PYTHONIOENCODING": "ascii"})
    for command in (
        ["check", "é.jsonl"],
        ["estimate", "é.jsonl"],
        ["run", "é.jsonl", "--sandbox", "--no-stdout"],
        ["status"],
        ["results", "é.sandbox.results.jsonl", "--format", "text"],
    ):
        done = program.run(*command)
        assert done.returncode == 0, done.stderr.decode()
    refused = program.run("check", "ö.jsonl")
    assert (refused.returncode, b"\\xf6.jsonl" in refused.stderr) == (2, True)
