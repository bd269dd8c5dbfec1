"""Opening a run: a new one after its prompts were checked, or one that lies on disk already.

Called under the lock. Nothing is created before the prompts are known to be good.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from claude_batch.core.model import ResultType
from claude_batch.errors import InvalidPromptsError
from claude_batch.storage.entries import Checkpoint, read_checkpoint
from claude_batch.storage.journal import RunIdentity, create_journal, read_journal
from claude_batch.storage.prompts import CheckReport, Defaults, InvalidLine, check, fingerprint
from claude_batch.storage.recovery import recover, take_out_unsuccessful
from claude_batch.storage.run_files import (
    STDIN,
    copied_prompts,
    copy_prompts,
    is_regular,
    keep_copy,
    refuse_foreign_results,
    refuse_mismatch,
    set_aside,
)
