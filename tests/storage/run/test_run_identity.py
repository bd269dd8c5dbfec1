"""Whose results these are: what shapes them must be the same, and older journals stay readable."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from claude_batch.config.reading import read_settings
from claude_batch.core.batch.history import BatchIntent, BatchRecord, BatchRefused, ModeChosen
from claude_batch.core.catalog.catalog import BUNDLED
from claude_batch.core.catalog.routing import Route, routes_of_text
from claude_batch.core.model.requests import API_VERSION
from claude_batch.errors import CheckpointError, CheckpointMismatchError
from claude_batch.storage.prompts.check import check
from claude_batch.storage.prompts.shapes import Defaults
from claude_batch.storage.run.batch_journal import BatchJournalFile, note_mode
from claude_batch.storage.run.journal import JournalFile, Opened, read_journal
from claude_batch.storage.run.opening import OpenRun, RunRequest, open_run
from tests.storage.run.test_recovery import a_line

AN_INTENT = BatchIntent(
    chunk=1, api_version=API_VERSION, lines="1", count=1, size=1, sha256="", at=0.0
)
RULES = (Route(name="all", model="claude-opus-5-5"),)


def a_wanted(
    folder: Path,
    *,
    prompts: str = "",
    results: Path | None = None,
    routes: tuple[Route, ...] = (),
    **options: Any,
) -> RunRequest:
    """Return what `run prompts.jsonl -o results.jsonl` asks for in `folder`, with `options`."""
    settings = read_settings({"config": "none", **options}, {})
    return RunRequest(
        prompts=prompts or str(folder / "prompts.jsonl"),
        results=results or folder / "results.jsonl",
        defaults=Defaults(model=settings.options.model, routes=routes, catalog=BUNDLED),
        settings=settings,
        started_at="2026-11-24T00:00:00.000Z",
    )


def opened(folder: Path, **more: Any) -> OpenRun:
    """Begin a run over one prompt in `folder`, or go on with it."""
    (folder / "prompts.jsonl").write_bytes(b'"hi"\n')
    wanted = a_wanted(folder, **more)
    return open_run(
        wanted,
        check_file=lambda path, note: check(path, wanted.defaults, note=note),
        before_start=lambda _: None,
    )


async def a_record(results: Path, record: BatchRecord) -> None:
    """Note a record about batches in the journal of a run."""
    journal = JournalFile(results)
    await BatchJournalFile(results, journal).record(record)
    journal.close()


def test_the_journal_keeps_the_rules(tmp_path: Path) -> None:
    opened(tmp_path, routes=RULES)
    journal = read_journal(tmp_path / "results.jsonl")
    assert journal is not None
    assert routes_of_text(journal.identity.routes) == RULES


@pytest.mark.parametrize(
    ("was", "now", "named"),
    [
        ({"routes": RULES}, {}, r"other \[\[route\]\] rules"),
        ({}, {"routes": RULES}, r"other \[\[route\]\] rules"),
        ({"dedupe": True}, {}, "was started with --dedupe, but this command has no --dedupe"),
        ({}, {"model": "m"}, "was started without --model, but this command has --model m"),
        (
            {"model": "m"},
            {"system": "s"},
            "with --model m, but this command has no --model. It was started without --system, but",
        ),
        ({"system": "s" * 70}, {"system": "s" * 71}, "but this command has another --system"),
        ({"sandbox": True}, {}, "the sandbox, but this command uses the real API"),
    ],
)
def test_other_shaping_options_are_another_run(
    tmp_path: Path, was: dict[str, Any], now: dict[str, Any], named: str
) -> None:
    opened(tmp_path, **was)
    (tmp_path / "results.jsonl").write_bytes(a_line("line-1", 1))
    with pytest.raises(CheckpointMismatchError, match=named):
        opened(tmp_path, **now)


def test_a_run_that_came_to_nothing_gives_way_to_other_options(tmp_path: Path) -> None:
    first = opened(tmp_path)
    second = opened(tmp_path, dedupe=True)
    assert second.identity.run_id != first.identity.run_id
    assert opened(tmp_path, dedupe=True).identity == second.identity


def test_a_run_whose_results_are_gone_does_not_give_way(tmp_path: Path) -> None:
    opened(tmp_path)
    journal = JournalFile(tmp_path / "results.jsonl")
    journal.opened(Opened(at="t", process=1, done=1))
    journal.close()
    with pytest.raises(CheckpointMismatchError):
        opened(tmp_path, dedupe=True)


def test_a_run_whose_create_may_have_made_a_batch_does_not_give_way(tmp_path: Path) -> None:
    opened(tmp_path)
    asyncio.run(a_record(tmp_path / "results.jsonl", AN_INTENT))
    with pytest.raises(CheckpointMismatchError):
        opened(tmp_path, dedupe=True)


def test_a_run_whose_create_was_refused_gives_way_and_keeps_its_mode(tmp_path: Path) -> None:
    opened(tmp_path)
    results, mode = tmp_path / "results.jsonl", ModeChosen(asked="batch", endpoint="default")
    note_mode(results, mode)
    asyncio.run(a_record(results, AN_INTENT))
    asyncio.run(a_record(results, BatchRefused(chunk=1, why="no")))
    assert opened(tmp_path, dedupe=True).batches.mode == mode
    assert opened(tmp_path, dedupe=True).batches.mode == mode


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ({"cache_prefix": "auto"}, {"cache_prefix": "off"}),
        (
            {"routes": RULES},
            {"routes": (Route(name="renamed", model="claude-opus-5-5"),)},
        ),
    ],
)
def test_what_shapes_no_result_may_change(
    tmp_path: Path, was: dict[str, Any], now: dict[str, Any]
) -> None:
    first = opened(tmp_path, **was)
    assert opened(tmp_path, **now).identity.run_id == first.identity.run_id


def test_a_journal_that_knows_nothing_of_routes_is_one_without(tmp_path: Path) -> None:
    opened(tmp_path)
    path = tmp_path / "results.jsonl.journal"
    record = orjson.loads(path.read_bytes().splitlines()[0])
    old = {key: record[key] for key in record if key not in {"routes", "dedupe"}}
    path.write_bytes(orjson.dumps(old) + b"\n")
    identity = opened(tmp_path).identity
    assert (identity.routes, identity.options.dedupe) == (None, False)


def test_an_older_journal_gives_the_options_that_it_kept(tmp_path: Path) -> None:
    opened(tmp_path)
    path = tmp_path / "results.jsonl.journal"
    record = orjson.loads(path.read_bytes().splitlines()[0])
    older = {"endpoint": "default", "scenario": "/s.toml", "cache_prefix": "auto"}
    path.write_bytes(orjson.dumps({**record, **older}) + b"\n")
    journal = read_journal(tmp_path / "results.jsonl")
    assert journal is not None
    settings = read_settings({"config": "none"}, {}, run=journal.settings)
    assert settings.options.cache_prefix == "auto"
    assert settings.options.scenario == Path("/s.toml")


@pytest.mark.parametrize("damage", [{"max_tokens": "many"}, {"sandbox": 7}, {"model": [1]}])
def test_a_journal_whose_options_are_damaged_is_refused(
    tmp_path: Path, damage: dict[str, Any]
) -> None:
    opened(tmp_path)
    path = tmp_path / "results.jsonl.journal"
    record = orjson.loads(path.read_bytes().splitlines()[0])
    path.write_bytes(orjson.dumps({**record, **damage}) + b"\n")
    with pytest.raises(CheckpointError, match=r"journal:1: the run record cannot be read"):
        opened(tmp_path)
