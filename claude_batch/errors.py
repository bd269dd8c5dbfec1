"""Every exception of the project, each with its exit code and its remedy.

    ClaudeBatchError
    ├── UsageError             exit 2   the command, its files or its settings need changing
    │   ├── InvalidPromptsError         lines of the prompts file are wrong
    │   ├── BoundTooLowError            --max-cost does not cover the next request
    │   │   └── BoundMetError  exit 6   since it is spent, or others spend it
    │   ├── SettingsError               claude-batch.toml or the environment
    │   └── CredentialsMissingError     no key found
    ├── LeaseAwayError         exit 5   the Redis server of --shared-limits does not answer
    ├── RunStoppedError        exit 4   the API will not serve this run
    └── CheckpointError        exit 5   results or journal do not fit, or cannot be written
        ├── CheckpointMismatchError     they belong to another input or to other options
        ├── CheckpointLockedError       another process is writing them
        ├── FolderGoneError             the run folder was moved or removed
        └── CheckpointWriteError        disk full, file too large, device gone

What the API may answer is no exception: it is returned as a `Reply` or a `Failure` (core.model).
"""

from __future__ import annotations

import signal
from enum import IntEnum
from typing import ClassVar


class Exit(IntEnum):
    """What the exit codes mean (README.md has the table); scripts rely on them."""

    SUCCEEDED = 0
    BUG = 1
    USAGE = 2
    SOME_FAILED = 3
    STOPPED = 4
    CHECKPOINT = 5
    BOUNDED = 6
    INTERRUPTED = 128 + signal.SIGINT
    READER_GONE = 128 + signal.SIGPIPE


class ClaudeBatchError(Exception):
    """Something the user can act on: what happened, where, and (in `hint`) what to do next."""

    exit_code: ClassVar[Exit] = Exit.BUG

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(ClaudeBatchError):
    """The command, its files or its settings need changing."""

    exit_code = Exit.USAGE


class InvalidPromptsError(UsageError):
    """Lines of the prompts file cannot be sent; they have been reported one by one."""


class NoRowsError(UsageError):
    """A file has neither prompts nor rows in it."""


class BoundTooLowError(UsageError):
    """What is left of --max-cost does not cover the next request; `enough_usd` probably will do."""

    def __init__(self, message: str, *, hint: str = "", enough_usd: float = 0.0) -> None:
        super().__init__(message, hint=hint)
        self.enough_usd = enough_usd


class BoundMetError(BoundTooLowError):
    """What was spent, or what others may still spend, has used up --max-cost."""

    exit_code = Exit.BOUNDED


class SettingsError(UsageError):
    """A settings file or variable says something that cannot be followed."""


class CredentialsMissingError(UsageError):
    """No key, token or profile was found for the endpoint."""


class LeaseAwayError(ClaudeBatchError):
    """The server that limits are shared by does not answer now; later it may."""

    exit_code = Exit.CHECKPOINT


class RunStoppedError(ClaudeBatchError):
    """The API will not serve this run; what is done is kept and the run can be resumed."""

    exit_code = Exit.STOPPED


class CheckpointError(ClaudeBatchError):
    """The results file or its journal cannot be used as it is."""

    exit_code = Exit.CHECKPOINT


class CheckpointMismatchError(CheckpointError):
    """The files on disk belong to another input, other options, or another kind of run."""


class CheckpointLockedError(CheckpointError):
    """Another process is writing the same results file."""


class FolderGoneError(CheckpointError):
    """The run folder is not where it was when the command began."""


class CheckpointWriteError(CheckpointError):
    """Results cannot be made durable: disk full, file-size limit, failed fsync."""
