"""The help of every command as the README has it: python -m tests.support.readme_help."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from claude_batch.cli.app import COMMANDS, app

README = Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- help: written by `make readme` -->\n", "<!-- /help -->\n"
COLUMNS = "90"


def help_of(command: str) -> str:
    """Return what `claude-batch COMMAND --help` prints."""
    done = CliRunner(env={"COLUMNS": COLUMNS, "TERMINAL_WIDTH": COLUMNS}).invoke(
        app, [command, "--help"], prog_name="claude-batch"
    )
    return done.output


def help_section() -> str:
    """Return the section: a block for each command, folded away."""
    blocks = (
        f"<details>\n<summary><code>claude-batch {command}</code></summary>\n\n"
        f"```text\n{help_of(command).strip()}\n```\n\n</details>\n"
        for command in COMMANDS
    )
    return "\n" + "\n".join(blocks) + "\n"


def with_help(readme: str) -> str:
    """Return `readme` with the section as it should be."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + help_section() + END + after


if __name__ == "__main__":
    README.write_text(with_help(README.read_text()))
