"""What changes a request that would be refused again."""

from __future__ import annotations

from typing import Any

import pytest

from claude_batch.commands.run.remedies import changes_against, first_step
from claude_batch.core.catalog.catalog import BUNDLED
from claude_batch.core.scheduling.decisions import StopKind


@pytest.mark.parametrize(
    ("cause", "changes"),
    [
        ("not_found_error: model: haiku", {"model": "claude-haiku-5-5"}),
        ("not_found_error: model 'opsu' not found", {"model": "claude-opus-5-5"}),
        ("not_found_error: model: qwen3", {}),
        ("not_found_error: model: claude-haiku-5-5", {}),  # it is not served there
        ("not_found_error: 404 page not found", {}),
        (
            "invalid_request_error: max_tokens: 200000 > 64000, which is the maximum",
            {"max_tokens": 64_000},
        ),
        ("invalid_request_error: max_tokens: 1,000 > 500", {"max_tokens": 500}),
        ("invalid_request_error: temperature: may not be set", {"drop": ("temperature",)}),
        ("invalid_request_error: `top_p` is not supported for this model", {"drop": ("top_p",)}),
        ("invalid_request_error: thinking.budget_tokens: too small", {"drop": ("thinking",)}),
        ("invalid_request_error: messages: at least one is required", {}),
        ("invalid_request_error: that is not allowed here", {}),
        ("authentication_error: invalid x-api-key", {}),
        ("", {}),
    ],
)
def test_what_was_refused_is_changed(cause: str, changes: dict[str, Any]) -> None:
    assert changes_against(cause, BUNDLED) == changes


@pytest.mark.parametrize("kind", StopKind)
def test_only_a_run_that_can_go_on_as_it_is_needs_no_first_step(kind: StopKind) -> None:
    going_on = {
        *(StopKind.PATIENCE, StopKind.LIMIT, StopKind.COST),
        *(StopKind.DETACHED, StopKind.INTERRUPTED),
    }
    assert bool(first_step(kind, is_retry=False)) == (kind not in going_on)
