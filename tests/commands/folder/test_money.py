"""--max-cost of a run folder: who may begin a shard."""

from __future__ import annotations

from pathlib import Path

import pytest

from claude_batch.commands.folder.manifest import open_folder
from claude_batch.commands.folder.money import FolderMoney
from claude_batch.commands.folder.status import ShardStatus, shard_statuses
from claude_batch.config.settings import RunSettings
from claude_batch.storage.folder.claims import take_claim
from claude_batch.storage.run.journal import note
from claude_batch.ui.screen.opening import open_screen
from tests.support.program import Program


def test_what_an_earlier_process_was_asked_to_keep_to_does_not_bind_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.jsonl").write_text('"a?"\n' * 4)
    ran = Program(folder=tmp_path).run(
        "run", "a.jsonl", "--out", "out/", "--sandbox", "--shard-size", "2", "--max-cost", "0.00054"
    )
    assert ran.returncode == 6
    folder = open_folder(["out/"], {}, open_screen("none", quiet=True))

    def statuses() -> list[ShardStatus]:
        return shard_statuses(folder.path, folder.files, folder.manifest)

    results = statuses()[0].results
    assert results is not None
    note(results, RunSettings(adjusted={"max_cost": 5.0}))  # then it was killed
    claim = take_claim(folder.files, 1, 2, 0.004)
    assert claim is not None
    try:
        assert statuses()[0].money.held_usd == 5.0
        money = FolderMoney(folder=folder, whole=True, statuses=statuses)
        assert money.is_within(0.004, claim)
        assert not money.is_within(0.003, claim)
    finally:
        claim.close()
