"""The copies that this host has of a run folder in object storage: held while in use, then removed.

Every process that uses them holds a lock, shared with the others. Who ends as the last one removes
what nobody needs: shards that are finished, and everything once all of them are.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

from claude_batch.core.shards.names import shard_name
from claude_batch.storage.files import make_private_folder
from claude_batch.storage.folder.claims import CLAIMS
from claude_batch.storage.folder.shards import ShardFolder
from claude_batch.storage.run.journal import journal_path
from claude_batch.storage.run.paths import SHARDS, TABLES

_IN_USE = ".in-use"


@cache
def hold_copies(path: Path) -> int:
    """Make the folder of the copies, and keep others from removing it while this process lives.

    Returns the descriptor of the lock. Raises OSError.
    """
    while True:
        with suppress(FileNotFoundError):  # another process has just removed it
            make_private_folder(path)
            fd = os.open(path / _IN_USE, os.O_RDWR | os.O_CREAT, 0o600)
            with suppress(OSError):  # a file system without locks: nobody removes anything
                fcntl.flock(fd, fcntl.LOCK_SH)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(fd), (path / _IN_USE).stat()):
                    return fd
            os.close(fd)


def remove_copies(path: Path, finished: Mapping[int, int], shards: int) -> None:
    """Remove the copies that are not needed, unless another process of this host uses them.

    `finished` maps each finished shard to its epoch; `shards` is the number of all shards. Files of
    a later epoch stay: a retry that was killed may have left results here that were not shipped.
    So does the record of tables that were written here.
    """
    with suppress(OSError):
        fcntl.flock(hold_copies(path), fcntl.LOCK_EX | fcntl.LOCK_NB)
        for number, epoch in finished.items():
            if all(each <= epoch for each in ShardFolder(path, number).epochs()):
                shutil.rmtree(path / SHARDS / shard_name(number), ignore_errors=True)
        with suppress(FileNotFoundError):
            (path / SHARDS).rmdir()  # which fails where something is left
        if len(finished) < shards:
            return
        if journal_path(path / TABLES).exists():  # it says which tables may be written again
            shutil.rmtree(path / CLAIMS, ignore_errors=True)
            return
        shutil.rmtree(path)
        path.parent.rmdir()
