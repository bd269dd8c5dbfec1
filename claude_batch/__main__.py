"""`python -m claude_batch`, and the console script."""

from __future__ import annotations

from claude_batch.cli.app import app


def main() -> None:
    """Run the command line."""
    app(prog_name="claude-batch")


if __name__ == "__main__":
    main()
