"""What a worker of a cluster does: look whether it sees the run folder, and work on a shard."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from claude_batch import __version__
from claude_batch.cluster.process import run_claude_batch
from claude_batch.commands.folder.manifest import existing_folder
from claude_batch.errors import ClaudeBatchError, Exit, UsageError
from claude_batch.storage.objects.locations import is_url
from claude_batch.ui.messages import error_text


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardOrder:
    """A shard of a run folder, and the options to work on it with. No secret is among them."""

    folder: str
    run_id: str
    shard: int
    arguments: tuple[str, ...]
    version: str = __version__


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardEnd:
    """How the process that worked on a shard ended, and what it said last; on which host."""

    code: int
    said: str
    host: str


def work_on_shard(order: ShardOrder) -> ShardEnd:
    """Work on a shard on this host, in a process of its own; return how that ended."""
    host = socket.gethostname()
    try:
        _refuse_elsewhere(order, host)
    except ClaudeBatchError as error:
        said = error_text(error.message, error.hint).rstrip()
        return ShardEnd(code=Exit.USAGE, said=said, host=host)
    end = run_claude_batch(["run", order.folder, "--shard", str(order.shard), *order.arguments])
    return ShardEnd(code=end.code, said=end.said, host=host)


def _refuse_elsewhere(order: ShardOrder, host: str) -> None:
    """Refuse to work where the program or the folder is another one. Raises UsageError."""
    if order.version != __version__:
        raise UsageError(
            f"{host} has claude-batch {__version__}, and this is {order.version}",
            hint="install the same version on all hosts",
        )
    try:
        run_id = existing_folder(order.folder).manifest.run_id
    except UsageError:
        if is_url(order.folder):
            raise
        run_id = None
    if run_id != order.run_id:
        what = "does not see" if run_id is None else "sees another run folder at"
        raise UsageError(
            f"{host} {what} {order.folder}",
            hint="a run folder must be on a file system that all hosts share, at the same path",
        )
