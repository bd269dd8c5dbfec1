"""A snapshot as JSON: what is read back is what was written."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from claude_batch.core.model.batches import ChunkState, ChunkView
from claude_batch.core.model.snapshot import AdjustedView, Snapshot
from claude_batch.storage.run.snapshots import snapshot_of, to_json
from tests.ui import pictures

PICTURES = {name: value for name, value in vars(pictures).items() if isinstance(value, Snapshot)}
ADJUSTED = (AdjustedView(name="rpm", value=200.0, at=1.0),)
CHUNK = ChunkView(chunk=1, batch_id=None, requests=3, state=ChunkState.WAITING)


@pytest.mark.parametrize("name", sorted(PICTURES))
def test_a_snapshot_survives(name: str) -> None:
    picture = replace(PICTURES[name], adjusted=ADJUSTED, paused_at=2.0, chunks=(CHUNK,))
    assert snapshot_of(json.loads(to_json(picture))) == picture


def test_a_time_without_end_survives_where_there_must_be_one() -> None:
    picture = replace(pictures.CALM, elapsed_s=math.inf)
    assert snapshot_of(json.loads(to_json(picture))) == picture


def test_a_name_that_is_no_utf_8_can_be_written() -> None:
    picture = replace(pictures.CALM, results="\udcff.jsonl")
    assert snapshot_of(json.loads(to_json(picture))).results == "?.jsonl"


def test_fields_of_a_later_version_are_passed_over() -> None:
    value = json.loads(to_json(pictures.BUSY))
    value["new"] = value["lanes"][0]["new"] = 1
    assert snapshot_of(value) == pictures.BUSY


@pytest.mark.parametrize("value", [None, [], {}, {"run_id": 3}, {"lanes": [1]}, {"phase": "x"}])
def test_what_is_no_snapshot_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="no snapshot"):
        snapshot_of(value)
