"""docs/commands.md, from the help of every command: python -m tests.support.command_help."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from claude_batch.cli.app import COMMANDS, app

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"
COLUMNS = "90"

HEAD = """# Commands

What `claude-batch COMMAND --help` prints; written by `make commands`. What the commands are for is
in [the README](../README.md).
"""


def help_of(command: str) -> str:
    """Return what `claude-batch COMMAND --help` prints."""
    done = CliRunner(env={"COLUMNS": COLUMNS, "TERMINAL_WIDTH": COLUMNS}).invoke(
        app, [command, "--help"], prog_name="claude-batch"
    )
    return done.output


def page() -> str:
    """Return the page: a section for each command."""
    sections = (
        f"\n## claude-batch {command}\n\n```text\n{help_of(command).strip()}\n```\n"
        for command in COMMANDS
    )
    return HEAD + "".join(sections)


if __name__ == "__main__":
    PAGE.write_text(page())
