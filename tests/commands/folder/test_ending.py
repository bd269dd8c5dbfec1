"""The last lines of the run of a folder name a step that works."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from claude_batch.commands.folder.ending import FolderEnd
from claude_batch.commands.folder.status import ShardStatus, shard_statuses, tries_again
from claude_batch.config.options import Options
from claude_batch.core.model.units import dollars
from claude_batch.core.scheduling.decisions import StopKind
from claude_batch.errors import Exit
from claude_batch.storage.folder.files import LocalFiles
from claude_batch.storage.run.journal import Closed, note
from claude_batch.ui.screen.screen import RunSummary
from tests.commands.folder.test_progress import begin, finish
from tests.storage.folder.test_manifest import SHARDS, a_manifest
from tests.storage.folder.test_shards import a_done


def test_what_another_process_advises_comes_first() -> None:
    hint = "export ANTHROPIC_API_KEY=...\nclaude-batch resume /elsewhere"
    statuses = [ShardStatus(shard=each, results=None) for each in SHARDS]
    end = FolderEnd(path=Path("/x/out"), statuses=statuses, bound_usd=None, also=" --on ray")
    summary = end.stopped(Exit.USAGE, last=None, why="", too_little=False, hint=hint)
    assert summary.first == "export ANTHROPIC_API_KEY=..."
    assert summary.resume_command == "claude-batch resume /x/out/ --on ray"


def ended(**figures: int) -> FolderEnd:
    done = replace(a_done(), **figures)  # type: ignore[arg-type]
    statuses = [ShardStatus(shard=each, results=None, done=done) for each in SHARDS]
    return FolderEnd(path=Path("/x/out"), statuses=statuses, bound_usd=None, also=" --on ray")


def test_answers_of_a_fallback_are_named_with_the_command_that_asks_again() -> None:
    summary = ended(degraded=2).finished()
    assert f"a fallback answered {2 * len(SHARDS)}" in summary.message
    assert summary.resume_command == "claude-batch resume /x/out/ --retry-degraded --on ray"


def test_failures_are_retried_before_answers_of_a_fallback() -> None:
    again = ended(degraded=1, succeeded=1, errored=1).finished().resume_command
    assert again == "claude-batch resume /x/out/ --retry-errored --on ray"


def test_without_any_there_is_nothing_to_ask_again() -> None:
    summary = ended(degraded=0).finished()
    assert (summary.resume_command, "fallback" in summary.message) == (None, False)


def test_only_shards_with_answers_of_a_fallback_are_tried_again() -> None:
    options = Options(retry_degraded=True)
    tried = [tries_again(options, replace(a_done(), degraded=each)) for each in (None, 0, 3)]
    assert tried == [True, False, True]


def test_a_bound_on_the_cost_that_stops_a_shard_is_said_with_the_figures_of_all(
    tmp_path: Path,
) -> None:
    finish(tmp_path, 1)
    results = begin(tmp_path, 2)
    results.write_bytes(b"".join(results.read_bytes().splitlines(keepends=True)[:100]))
    last = RunSummary(message="0.2 of 0.1 USD spent", resume_command=None, exit_code=Exit.BOUNDED)

    def why(kind: StopKind) -> str:
        closed = Closed(at="t", state="stopped", exit_code=6, why="", kind=kind, max_cost_usd=0.1)
        note(results, closed)
        statuses = shard_statuses(tmp_path, LocalFiles(tmp_path), a_manifest())
        spent = sum(each.money.spent_usd for each in statuses)
        assert spent > statuses[1].money.spent_usd > 0
        end = FolderEnd(path=tmp_path, statuses=statuses, bound_usd=0.5)
        return end.why(2, last).replace(f"{dollars(spent)} spent", "all")

    assert why(StopKind.COST) == "stopped by --max-cost 0.5: all"
    assert why(StopKind.DETACHED) == "shard 2: 0.2 of 0.1 USD spent"
