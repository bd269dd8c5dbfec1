"""What of the bound on the cost of a run folder is left decides which command continues it."""

from __future__ import annotations

from pathlib import Path

import pytest

from claude_batch.commands.folder.ending import FolderEnd, needed_usd
from claude_batch.commands.folder.status import ShardStatus, shard_statuses
from claude_batch.core.scheduling.decisions import StopKind
from claude_batch.errors import Exit
from claude_batch.storage.folder.files import LocalFiles
from claude_batch.storage.run.journal import Closed, note
from claude_batch.ui.screen.screen import RunSummary
from tests.commands.folder.test_progress import begin, finish
from tests.storage.folder.test_manifest import a_manifest


@pytest.fixture
def statuses(tmp_path: Path) -> list[ShardStatus]:
    """Return a finished shard, and one that has met its part of the bound, 0.1, half-way."""
    finish(tmp_path, 1)
    results = begin(tmp_path, 2)
    results.write_bytes(b"".join(results.read_bytes().splitlines(keepends=True)[:100]))
    cost = StopKind.COST
    note(results, Closed(at="t", state="stopped", exit_code=6, why="", kind=cost, max_cost_usd=0.1))
    return shard_statuses(tmp_path, LocalFiles(tmp_path), a_manifest())


def test_a_higher_bound_is_needed_where_too_little_is_left(statuses: list[ShardStatus]) -> None:
    spent = sum(each.money.spent_usd for each in statuses)
    for bound in (spent / 2, spent, spent + 1e-9):
        needed = needed_usd(bound, statuses)
        assert needed is not None
        assert needed > 1.05 * spent


def test_none_is_needed_where_others_have_left_enough_or_none_is_in_force(
    statuses: list[ShardStatus],
) -> None:
    assert [needed_usd(bound, statuses) for bound in (None, 1_000.0)] == [None, None]


def test_a_process_for_one_shard_speaks_of_the_bound_of_all(statuses: list[ShardStatus]) -> None:
    spent = sum(each.money.spent_usd for each in statuses)
    part = RunSummary(message="0.1 of 0.1 USD", resume_command="again", exit_code=Exit.BOUNDED)

    def ended(bound: float | None) -> RunSummary:
        return FolderEnd(path=Path("/x/out"), statuses=statuses, bound_usd=bound).alone(2, part)

    met = ended(spent)
    assert met.message.startswith(f"stopped by --max-cost {spent:.10g}: ")
    assert "0.1 USD" not in met.message
    assert met.resume_command is not None
    assert met.resume_command.startswith("claude-batch resume /x/out/ --max-cost ")
    assert ended(1_000.0).resume_command == "claude-batch resume /x/out/"
    assert ended(None) == part


def test_processes_of_a_cluster_that_it_stops_are_said_to_be(statuses: list[ShardStatus]) -> None:
    spent = sum(each.money.spent_usd for each in statuses)
    end = FolderEnd(path=Path("/x/out"), statuses=statuses, bound_usd=spent, also=" --on ray")
    summary = end.stopped(Exit.BOUNDED, last=None, why="", too_little=False)
    assert summary.message.startswith(f"stopped by --max-cost {spent:.10g}: ")
    assert summary.resume_command is not None
    assert summary.resume_command.startswith("claude-batch resume /x/out/ --on ray --max-cost ")
