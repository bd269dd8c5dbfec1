"""--log and --metrics-port: what is missing or wrong is said before anything is sent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.program import Program

OTLP = "OTEL_EXPORTER_OTLP_ENDPOINT"
BLOCKED = "import sys; sys.modules['opentelemetry.metrics'] = None\n"


@pytest.fixture
def program(tmp_path: Path) -> Program:
    (tmp_path / "p.jsonl").write_text('{"prompt": "hi"}\n')
    return Program(folder=tmp_path)


def without_the_extra(program: Program, **variables: str) -> Program:
    """Return the program in an interpreter for which OpenTelemetry is not installed."""
    blocked = program.folder / "blocked"
    blocked.mkdir()
    (blocked / "sitecustomize.py").write_text(BLOCKED)
    return replace(program, variables={"PYTHONPATH": str(blocked), **variables})


def test_without_the_extra_the_command_to_install_it_is_named(program: Program) -> None:
    bare = without_the_extra(program)
    done = bare.run("run", "p.jsonl", "--sandbox", "--metrics-port", "0")
    assert done.returncode == 2
    assert "--metrics-port needs opentelemetry, which is not installed" in done.stderr.decode()
    assert "pip install 'claude-batch[metrics]'" in done.stderr.decode()
    assert not list(program.folder.glob("*.journal"))


def test_variables_of_the_machine_do_not_stop_a_run_without_the_extra(program: Program) -> None:
    bare = without_the_extra(program, **{OTLP: "http://127.0.0.1:9"})
    done = bare.run("run", "p.jsonl", "--sandbox")
    assert done.returncode == 0, done.stderr.decode()
    assert f"{OTLP} is set, but opentelemetry is not installed" in done.stderr.decode()


@pytest.mark.parametrize("port", ["70000", "-1", "x"])
def test_a_port_that_is_none_is_refused(program: Program, port: str) -> None:
    done = program.run("run", "p.jsonl", "--sandbox", "--metrics-port", port)
    assert done.returncode == 2
    assert b"--metrics-port must be" in done.stderr


def test_a_run_says_where_its_metrics_are(program: Program) -> None:
    pytest.importorskip("opentelemetry.exporter.prometheus")
    done = program.run("run", "p.jsonl", "--sandbox", "--metrics-port", "0")
    assert done.returncode == 0, done.stderr.decode()
    assert b"metrics are at http://127.0.0.1:" in done.stderr


def test_a_log_that_is_a_file_of_the_run_is_refused_before_there_is_one(program: Program) -> None:
    results = "p.sandbox.results.jsonl"
    done = program.run("run", "p.jsonl", "--sandbox", "--log", results)
    assert done.returncode == 2
    assert b"is a file of the run itself" in done.stderr
    assert not (program.folder / results).exists()
