"""The command line itself: help is quick, complete, and true."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from claude_batch.cli.app import COMMANDS, app

HEAVY = ("anthropic", "aiohttp", "httpx2", "obstore", "pydantic", "ray", "redis", "sqlite3")


def loaded_by(*arguments: str) -> set[str]:
    """Return the modules a command has loaded by its end."""
    program = (
        "import sys\n"
        "from claude_batch.__main__ import main\n"
        f"sys.argv = ['claude-batch', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in done.stderr.splitlines()}


@pytest.mark.parametrize("arguments", [("--help",), ("--version",)])
def test_help_loads_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert not loaded_by(*arguments) & set(HEAVY)


@pytest.mark.parametrize("command", ["run", "resume", "status", "results", "check"])
def test_no_command_needs_the_sdk_to_explain_itself(command: str) -> None:
    assert "anthropic" not in loaded_by(command, "--help")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    done = CliRunner().invoke(app, [command, "--help"])
    assert done.exit_code == 0
    assert "Usage:" in done.output


def test_a_mistyped_command_names_the_nearest() -> None:
    done = CliRunner().invoke(app, ["statsu"])
    assert done.exit_code == 2
    assert "'status'" in done.output


@pytest.mark.parametrize("command", COMMANDS)
def test_each_example_has_a_line_of_its_own(command: str) -> None:
    lines = CliRunner().invoke(app, [command, "--help"]).output.splitlines()
    named = [line for line in lines if "Examples:" in line]
    examples = [line for line in lines if line.startswith("    claude-batch ")]
    assert named in ([], ["  Examples:"])
    assert bool(examples) == bool(named)
