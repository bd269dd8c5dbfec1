"""Whose results these are: what shapes them must be the same, and older journals stay readable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from claude_batch.core.routing import Route, routes_of_text
from claude_batch.errors import CheckpointMismatchError
from claude_batch.storage.journal import read_journal
from claude_batch.storage.opening import OpenRun, Wanted, open_run
from claude_batch.storage.prompts import Defaults, check

RULES = (Route(name="all", model="claude-opus-5-5"),)


def a_wanted(folder: Path, **more: Any) -> Wanted:
    """Return what `run prompts.jsonl -o results.jsonl` asks for in `folder`."""
    return Wanted(
        **{
            "prompts": str(folder / "prompts.jsonl"),
            "results": folder / "results.jsonl",
            "defaults": Defaults(),
            "sandbox": False,
            "scenario": None,
            "endpoint": "default",
            "skip_invalid": False,
            "retry_errored": False,
            "fresh": False,
            "started_at": "2026-11-24T00:00:00.000Z",
            **more,
        }
    )


def opened(folder: Path, **more: Any) -> OpenRun:
    """Begin a run over one prompt in `folder`, or go on with it."""
    (folder / "prompts.jsonl").write_bytes(b'"hi"\n')
    wanted = a_wanted(folder, **more)
    return open_run(
        wanted,
        check_file=lambda path, note: check(path, wanted.defaults, note=note),
        before_start=lambda: None,
    )


def test_the_journal_keeps_the_rules(tmp_path: Path) -> None:
    opened(tmp_path, defaults=Defaults(routes=RULES))
    journal = read_journal(tmp_path / "results.jsonl")
    assert journal is not None
    assert routes_of_text(journal.identity.routes) == RULES


@pytest.mark.parametrize(
    ("was", "now", "named"),
    [
        ({"defaults": Defaults(routes=RULES)}, {}, r"other \[\[route\]\] rules"),
        ({}, {"defaults": Defaults(routes=RULES)}, r"other \[\[route\]\] rules"),
        ({"dedupe": True}, {}, "--dedupe True, not False"),
    ],
)
def test_other_shaping_options_are_another_run(
    tmp_path: Path, was: dict[str, Any], now: dict[str, Any], named: str
) -> None:
    opened(tmp_path, **was)
    with pytest.raises(CheckpointMismatchError, match=named):
        opened(tmp_path, **now)


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ({"cache_prefix": "auto"}, {"cache_prefix": "off"}),
        (
            {"defaults": Defaults(routes=RULES)},
            {"defaults": Defaults(routes=(Route(name="renamed", model="claude-opus-5-5"),))},
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
    record = orjson.loads(path.read_bytes())
    old = {key: record[key] for key in record if key not in {"routes", "dedupe", "cache_prefix"}}
    path.write_bytes(orjson.dumps(old) + b"\n")
    identity = opened(tmp_path).identity
    assert (identity.routes, identity.dedupe, identity.cache_prefix) == (None, False, "off")
