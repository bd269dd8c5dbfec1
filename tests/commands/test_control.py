"""What a run answers to requests that make no sense: it goes on, and says why."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from claude_batch.commands.folder.steering import Steering
from claude_batch.commands.run.control import Control, changes_text
from claude_batch.config.options import Options
from claude_batch.config.settings import Endpoint, Pool, RunSettings, Settings
from claude_batch.core.catalog.catalog import BUNDLED
from claude_batch.core.model.adjustment import Adjustment, Bounds
from claude_batch.storage.prompts.shapes import Defaults
from claude_batch.storage.run.control import Answer, LiveState, Request, ask, read_live
from claude_batch.storage.run.journal import (
    JournalFile,
    RunIdentity,
    create_journal,
    read_journal,
)
from claude_batch.storage.run.opening import RunRequest
from tests.support.program import wait_for


def a_request(results: Path, **options: Any) -> RunRequest:
    settings = Settings(
        options=Options(**options),
        endpoints=(Endpoint(),),
        pool=Pool(),
        routes=(),
        file=None,
    )
    return RunRequest(
        prompts="p.jsonl",
        results=results,
        defaults=Defaults(catalog=BUNDLED),
        settings=settings,
        started_at="",
    )


def begin(results: Path) -> None:
    identity = RunIdentity(
        run_id="r",
        version="1",
        started_at="2026-11-30T00:00:00Z",
        mode="live",
        prompts="p.jsonl",
        prompts_path="p.jsonl",
        results=str(results),
        size=1,
        sha256="",
        total=1,
        invalid=0,
        options=Options(),
    )
    create_journal(results, identity, RunSettings())


def seen(results: Path, is_it: Callable[[LiveState], bool]) -> LiveState:
    """Wait for what a run says of itself."""
    found: list[LiveState] = []

    def look() -> bool:
        state = read_live(results)
        if state is not None and is_it(state):
            found.append(state)
        return bool(found)

    wait_for(look)
    return found[0]


async def asked(
    results: Path,
    changes: dict[str, Any],
    *,
    batch_mode: bool = False,
    models: tuple[str, ...] = (),
    steering: Steering | None = None,
) -> tuple[Answer, Adjustment | None]:
    """Ask a run to change something; return its answer, and what it keeps to from then on."""
    found: list[Adjustment] = []
    begin(results)
    with closing(JournalFile(results)) as journal:
        control = Control(
            request=a_request(results),
            run_id="r",
            models=models,
            journal=journal,
            catalog=BUNDLED,
            bounds=lambda options: Bounds(concurrency=9, max_cost_usd=options.max_cost),
            on_change=lambda _options: None,
            warn=lambda _text: None,
            batch_mode=batch_mode,
            steering=steering,
        )
        control.open()

        async def keep() -> None:
            while True:
                found.append(await control.next())
                control.applied()

        keeping = asyncio.create_task(keep())
        live = await asyncio.to_thread(seen, results, lambda _state: True)
        ask(results, Request(id="1", run_id="r", token=live.token, changes=changes))
        live = await asyncio.to_thread(seen, results, lambda state: bool(state.answers))
        keeping.cancel()
        control.close()
    return live.answers[0], found[0] if found else None


def test_a_change_is_journaled_before_it_is_acknowledged(tmp_path: Path) -> None:
    results = tmp_path / "x.jsonl"
    answer, adjustment = asyncio.run(asked(results, {"max_cost": 5.0}))
    assert answer == Answer(id="1")
    assert adjustment is not None
    assert adjustment.bounds.max_cost_usd == 5.0
    journal = read_journal(results)
    assert journal is not None
    assert journal.settings.adjusted == {"max_cost": 5.0}
    assert not list(tmp_path.glob("*.live"))


def test_a_shard_keeps_to_its_part_of_a_bound_and_passes_the_whole_on(tmp_path: Path) -> None:
    results = tmp_path / "x.jsonl"
    steering = Steering(part_of=lambda bound: bound / 4, on_change=lambda: None)
    changes = {"max_cost": 8.0, "rpm": 60.0}
    _, adjustment = asyncio.run(asked(results, changes, steering=steering))
    assert adjustment is not None
    assert adjustment.bounds.max_cost_usd == 2.0
    assert steering.changes == changes
    journal = read_journal(results)
    assert journal is not None
    assert journal.settings.adjusted == {"max_cost": 2.0, "rpm": 60.0}


def test_a_shard_begins_as_the_one_before_was_left(tmp_path: Path) -> None:
    steering = Steering(part_of=lambda bound: bound, on_change=lambda: None)
    steering.keep({"share": 0.5}, at=1.0, paused_at=1.0)
    answer, adjustment = asyncio.run(asked(tmp_path / "x.jsonl", {"rpm": 60.0}, steering=steering))
    assert adjustment is not None
    assert (adjustment.is_paused, answer) == (True, Answer(id="1"))
    assert steering.changes == {"share": 0.5, "rpm": 60.0}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"rpm": "many"}, "--rpm must be a number"),
        ({"rpm": -1}, "--rpm must be greater than 0"),
        ({"share": 3}, "--share takes a fraction"),
        ({"concurrency": [1]}, "--concurrency must be a whole number"),
        ({"model": "x"}, "does not know model"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(
    tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    answer, adjustment = asyncio.run(asked(tmp_path / "x.jsonl", changes))
    assert why in answer.refusal
    assert adjustment is None


def test_a_bound_needs_prices(tmp_path: Path) -> None:
    answer, _ = asyncio.run(
        asked(tmp_path / "x.jsonl", {"max_cost": 5.0}, models=("some-local-model",))
    )
    assert "the price of some-local-model is not known" in answer.refusal


def test_a_first_bound_is_refused_once_batches_are_packed(tmp_path: Path) -> None:
    answer, _ = asyncio.run(asked(tmp_path / "x.jsonl", {"max_cost": 5.0}, batch_mode=True))
    assert "packed without a bound" in answer.refusal
    assert "resume it with --max-cost" in answer.hint


def test_numbers_are_written_out() -> None:
    assert changes_text({"itpm": 2_000_000.0, "max_cost": 0.5}) == "itpm 2,000,000, max-cost 0.5"
