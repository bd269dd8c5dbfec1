"""How a command ends: every exception becomes a message on stderr and an exit code."""

from __future__ import annotations

import errno
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import typer

from claude_batch.core.model.typos import nearest
from claude_batch.errors import ClaudeBatchError, Exit

_CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}
"""What the machine answers, whatever the program does."""

_PARSER_WORDS = re.compile(r"\b(Input|Value error,|(?<=a )valid) |, unable to [\w ]+|\.$")
"""Words of those who parse flags that tell a user nothing."""


_CONTINUING = {"--resume", "--unpause", "--start"}
"""What --continue may be called."""


@contextmanager
def reported() -> Iterator[None]:
    """Turn what goes wrong in the block into a message that says what to do, and an exit code."""
    try:
        with _flushed():
            yield
    except ClaudeBatchError as error:
        say_error(error.message, error.hint)
        raise typer.Exit(error.exit_code) from error
    except (KeyboardInterrupt, typer.Abort) as error:
        raise typer.Exit(Exit.INTERRUPTED) from error
    except BrokenPipeError as error:
        raise typer.Exit(Exit.READER_GONE) from error
    except Exception as error:
        if type(error).__module__.startswith("typer"):
            _report_usage(error)
            raise  # an orderly exit, or help
        if isinstance(error, OSError) and error.errno in _CANNOT_WRITE:
            place = error.filename or "stdout"
            say_error(f"{place}: cannot be written: {error.strerror}", "make room, or go elsewhere")
            raise typer.Exit(Exit.CHECKPOINT) from error
        if isinstance(error, PermissionError) and error.filename:
            say_error(f"{error.filename}: {error.strerror}", "chmod u+rw it, or go elsewhere")
            raise typer.Exit(Exit.USAGE) from error
        message = without_secrets(f"a bug in claude-batch: {error!r}")
        say_error(message, f"please report it with {_log_of(error)}")
        raise typer.Exit(Exit.BUG) from error


@contextmanager
def _flushed() -> Iterator[None]:
    """Write what stdout still holds while an error can be reported; then it is too late."""
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except OSError:
        with suppress(OSError, AttributeError):  # what cannot be written is not tried again
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def say_error(message: str, hint: str = "") -> None:
    """Print an error and its remedy on stderr."""
    from claude_batch.ui.messages import error_text  # noqa: PLC0415  # Rich loads when needed

    if sys.stderr is not None:
        sys.stderr.write(error_text(message, hint))


def _report_usage(error: Exception) -> None:
    """Report what is wrong with a command line like everything else; then leave.

    Typer's errors are known by what they carry: it has no public names for them.
    """
    context, parts = getattr(error, "ctx", None), getattr(error, "format_message", None)
    if parts is None or type(error).__name__ == "NoArgsIsHelpError":
        return
    command = context.command_path if context is not None else "claude-batch"
    hint = f"{command} --help lists what there is"
    if type(error).__name__ == "NoSuchOption":
        message, hint = _no_such_option(getattr(error, "option_name", ""), context, hint)
    else:
        message = _PARSER_WORDS.sub("", parts()).replace("a integer", "a whole number")
    say_error(message[:1].lower() + message[1:], hint)
    raise typer.Exit(Exit.USAGE) from error


def _no_such_option(option: str, context: Any, otherwise: str) -> tuple[str, str]:
    """Return what to say of an option that a command does not take, and what to do."""
    from claude_batch.config.declaration import Owner  # noqa: PLC0415  # not for --help
    from claude_batch.config.options import OPTIONS  # noqa: PLC0415  # as above
    from claude_batch.config.spelling import flag  # noqa: PLC0415  # as above

    command = context.info_name
    if command == "resume":
        fixed = {
            flag(name)
            for name, declared in OPTIONS.items()
            if "run" in declared.commands and declared.owner is not Owner.COMMAND
        }
        if option == "--fresh":
            return "resume starts nothing over", "claude-batch run PROMPTS --fresh does"
        if option in {"-o", "--out"}:
            return f"resume takes no {option}", "name the results file itself: resume RESULTS"
        if option in fixed:
            return (
                f"resume takes no {option}: it cannot change after a run was started",
                f"leave {option} out; claude-batch run PROMPTS {option} ... starts another run",
            )
    if command == "adjust" and option in _CONTINUING:
        return f"adjust has no option {option}", "did you mean --continue?"
    known = {
        each.lstrip("-"): each
        for param in context.command.params
        for each in (*param.opts, *param.secondary_opts)
    }
    near = [known[name] for name in nearest(option.lstrip("-"), known)]
    hint = f"did you mean {' or '.join(near)}?" if near else otherwise
    return f"{command} has no option {option}", hint


def without_secrets(text: str) -> str:
    """Return `text` without the secrets of the environment, and without Anthropic's keys."""
    from claude_batch.config.secrets import Scrub, named_secrets  # noqa: PLC0415  # only for a bug

    values = named_secrets(os.environ)
    return Scrub.of(part for value in values for part in value.split())(text)


def _log_of(error: Exception) -> str:
    """Write the traceback to a file of its own, or to stderr; return where it is."""
    lines = [without_secrets(line) for line in traceback.format_exception(error)]
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="claude-batch-", suffix=".log", delete=False
        ) as file:
            file.writelines(lines)
            return file.name
    except OSError:
        sys.stderr.writelines(lines)
        return "the lines above"
