"""docs/files.md names every record and field that is written."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from claude_batch.core.model.events import Event
from claude_batch.core.model.minutes import LaneFigures, LimitFigures, Minute, Traffic
from claude_batch.core.model.requests import FailureKind
from claude_batch.storage.run.batch_journal import _TYPES

PAGE = (Path(__file__).parents[1] / "docs" / "files.md").read_text()
NOT_JOURNALED = {"failed", "recorded"}
EVENTS = {each.__name__.lower() for each in Event.__args__} - NOT_JOURNALED


@pytest.mark.parametrize(
    "kind",
    sorted({"run", "settings", "extended", "opened", "closed", "adjusted", *EVENTS, *_TYPES}),
)
def test_every_kind_of_record_is_documented(kind: str) -> None:
    assert f"`{kind}`" in PAGE


@pytest.mark.parametrize("record", [Minute, Traffic, LaneFigures, LimitFigures])
def test_every_field_of_a_minute_is_documented(record: type) -> None:
    names = {field.name for field in fields(record)}
    assert names <= set(re.findall(r"`(\w+)`", PAGE))


def test_every_kind_of_failure_is_documented() -> None:
    assert all(kind.value in PAGE for kind in FailureKind)
