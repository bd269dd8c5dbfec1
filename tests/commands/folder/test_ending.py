"""The last lines of the run of a folder name a step that works."""

from __future__ import annotations

from pathlib import Path

from claude_batch.commands.folder.ending import FolderEnd
from claude_batch.commands.folder.status import ShardStatus
from claude_batch.errors import Exit
from tests.storage.folder.test_manifest import SHARDS


def test_what_another_process_advises_comes_first() -> None:
    hint = "export ANTHROPIC_API_KEY=...\nclaude-batch resume /elsewhere"
    statuses = [ShardStatus(shard=each, results=None) for each in SHARDS]
    end = FolderEnd(path=Path("/x/out"), statuses=statuses, bound_usd=None, also=" --on ray")
    summary = end.stopped(Exit.USAGE, last=None, why="", too_little=False, hint=hint)
    assert summary.first == "export ANTHROPIC_API_KEY=..."
    assert summary.resume_command == "claude-batch resume /x/out/ --on ray"
