"""With whom a lane shares its limits, in words."""

from __future__ import annotations

import pytest

from claude_batch.core.model.sharing import Sharer, SharingView
from claude_batch.ui.sharing import shared_text, sharing_text

A, B = Sharer("a.jsonl on host", 0.5), Sharer("b\x1b on host", 0.2499999)


@pytest.mark.parametrize(
    ("sharing", "text"),
    [
        (SharingView(share=1.0, others=()), "100 % of the limits; no other program uses them now"),
        (
            SharingView(share=0.25, others=(A, B)),
            r"25 % of the limits, with 2 other programs: a.jsonl on host 50 %, b\x1b on host 25 %",
        ),
        (
            SharingView(share=0.5, others=(A,), lost=True),
            "50 % of the limits, the last share: the Redis server does not answer",
        ),
        (
            SharingView(share=0.0, others=(), silent=True),
            "not shared: replies report no limits",
        ),
    ],
)
def test_a_lane_says_with_whom_it_shares(sharing: SharingView, text: str) -> None:
    assert sharing_text(sharing) == text


def test_limits_says_who_shares() -> None:
    assert shared_text((A,)) == "shared by 1 program: a.jsonl on host 50 %"


def test_limits_says_that_nobody_shares() -> None:
    assert shared_text(()) == "no program shares its limits now"
