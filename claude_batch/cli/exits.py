"""How a command ends: every exception becomes a message on stderr and an exit code (DESIGN 3)."""

from __future__ import annotations

import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from claude_batch.errors import ClaudeBatchError, Exit


@contextmanager
def reported() -> Iterator[None]:
    """Turn what goes wrong in the block into a message that says what to do, and an exit code."""
    try:
        yield
    except ClaudeBatchError as error:
        say_error(error.message, error.hint)
        raise typer.Exit(error.exit_code) from error
    except KeyboardInterrupt as error:
        raise typer.Exit(Exit.INTERRUPTED) from error
    except BrokenPipeError as error:
        raise typer.Exit(Exit.READER_GONE) from error
    except Exception as error:
        if type(error).__module__.startswith("typer"):
            raise  # Typer's own: a wrong flag, or an orderly exit
        say_error(f"a bug of ours: {error!r}", f"please report it with {_write_log(error)}")
        raise typer.Exit(Exit.BUG) from error


def say_error(message: str, hint: str = "") -> None:
    """Print an error and its remedy on stderr."""
    from claude_batch.ui.messages import error_text  # noqa: PLC0415  # Rich loads when needed

    sys.stderr.write(error_text(message, hint))


def _write_log(error: Exception) -> Path:
    """Write the traceback to a file of its own."""
    with tempfile.NamedTemporaryFile(
        "w", prefix="claude-batch-", suffix=".log", delete=False
    ) as file:
        file.writelines(traceback.format_exception(error))
        return Path(file.name)
