"""What has to change so that a run that was stopped does not stop in the same way again."""

from __future__ import annotations

import re
from typing import Any

from claude_batch.commands.account.probing import remedy_for
from claude_batch.core.catalog.catalog import Catalog, meant_model
from claude_batch.core.model.requests import FailureKind
from claude_batch.core.scheduling.decisions import StopKind
from claude_batch.storage.prompts.params import PARAMS

_MODEL = re.compile(r"^not_found_error: .*?\bmodel:? [`'\"]?([^\s`'\"]+)")
_TOO_MANY_TOKENS = re.compile(r"\bmax_tokens: ([\d,]+) > ([\d,]+)")
_PARAM = re.compile(r"^invalid_request_error: [`'\"]?([a-z_]+)\b")
_NEEDED = frozenset({"model", "max_tokens", "messages", "system"})

_REMEDIES = {
    StopKind.REFUSED: FailureKind.RUN_REFUSED,
    StopKind.ENDPOINT: FailureKind.ENDPOINT_REJECTED,
    StopKind.UNUSABLE: FailureKind.ENDPOINT_UNUSABLE,
    StopKind.MODEL: FailureKind.MODEL_FORBIDDEN,
}


def changes_against(cause: str, catalog: Catalog) -> dict[str, Any]:
    """Return the options without which requests fail with `cause` again; {} where none helps.

    `cause` is the type of an error and its message.
    """
    if found := _MODEL.search(cause):
        meant = meant_model(found[1], catalog)
        return {} if meant in {None, found[1]} else {"model": meant}
    if found := _TOO_MANY_TOKENS.search(cause):
        return {"max_tokens": int(found[2].replace(",", ""))}
    if (found := _PARAM.search(cause)) and found[1] in PARAMS - _NEEDED:
        return {"drop": (found[1],)}
    return {}


def first_step(kind: StopKind, *, is_retry: bool) -> str:
    """Return what to do before a run that stopped so is resumed; "" for one that just goes on."""
    if kind in {StopKind.IDENTICAL_FAILURES, StopKind.BATCH}:
        options = "--model, --max-tokens or --drop NAME"
        if is_retry:
            return f"retry again with what the API does not refuse: {options}"
        return f"correct the prompts, or add {options}; then run the same command again"
    return remedy_for(_REMEDIES[kind]) if kind in _REMEDIES else ""
