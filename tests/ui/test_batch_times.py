"""What is said of batches whose time is over."""

from __future__ import annotations

from claude_batch.core.model.batches import ChunkState, ChunkView
from claude_batch.ui.batch_words import EXPECTED, EXPIRED, expected_text, expires_text

WAITING = ChunkView(
    chunk=1, batch_id="b", requests=5, state=ChunkState.WAITING, created_at=0.0, expires_at=86_400.0
)


def test_within_its_24_hours_a_batch_is_expected() -> None:
    assert expected_text([WAITING], 3_600.0) == EXPECTED
    assert expires_text(86_400.0, 82_800.0) == "1:00:00"


def test_a_batch_whose_24_hours_are_over_says_so() -> None:
    assert expected_text([WAITING], 90_000.0) == EXPIRED
    assert expires_text(86_400.0, 90_000.0) == "over"
