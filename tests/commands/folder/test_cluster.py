"""What of a command goes to those that work on its shards on a cluster."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from claude_batch.cluster.calls import calls_of
from claude_batch.commands.folder.cluster import passed_on
from claude_batch.errors import UsageError

ALWAYS = ("--quiet", "--no-stdout")


@pytest.mark.parametrize(
    ("given", "arguments"),
    [
        ({"rpm": "300", "max_cost": "2.5"}, ("--rpm", "300", "--max-cost", "2.5")),
        ({"rpm": "none", "cache": False}, ("--rpm", "none", "--no-cache")),
        ({"prompt": "{{a}}", "model": "m", "out": Path("o/"), "workers": "3", "on": "ray"}, ()),
        ({"retry_errored": True, "model": "m"}, ("--retry-errored", "--model", "m")),
        ({"progress": "json", "yes": True, "new_only": True}, ()),
        ({"shared_limits": "redis://h:1/0"}, ("--shared-limits", "redis://h:1/0")),
    ],
)
def test_options_are_passed_on_as_they_are_typed(
    given: dict[str, Any], arguments: tuple[str, ...]
) -> None:
    passed = passed_on(given)
    assert passed[-2:] == ALWAYS
    assert sorted(passed[:-2]) == sorted(arguments)


def test_files_are_named_from_the_root_on() -> None:
    assert passed_on({"log": Path("x.log")})[:2] == ("--log", str(Path("x.log").absolute()))


def test_no_secret_is_passed_on() -> None:
    with pytest.raises(UsageError, match="has a password in it") as refused:
        passed_on({"shared_limits": "redis://:tell-nobody@h:1/0"})
    assert "CLAUDE_BATCH_SHARED_LIMITS" in refused.value.hint
    assert "tell-nobody" not in refused.value.message + refused.value.hint


def test_metrics_are_for_one_process() -> None:
    with pytest.raises(UsageError, match="--metrics-port is for one process"):
        passed_on({"metrics_port": "0"})


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(UsageError, match="--on ray needs Ray") as refused, calls_of(id, at_once=1):
        pass
    assert refused.value.hint == "pip install 'claude-batch[ray]'"


def test_an_address_at_which_nothing_listens_is_said_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(UsageError, match="Connection refused"), calls_of(id, at_once=1):
        pass
