"""What of a command goes to those that work on its shards on a cluster."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from claude_batch.cluster.calls import calls_of
from claude_batch.commands.cluster.cluster import _noted, advice_in, passed_on
from claude_batch.commands.folder.run import run_folder
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


def test_a_terminal_that_is_closed_does_not_cut_the_workers_off() -> None:
    asked: list[int] = []
    with _noted(asked):
        for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM):
            signal.raise_signal(number)
    assert asked == [signal.SIGHUP, signal.SIGTERM]


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


@pytest.mark.parametrize(
    ("given", "missing", "variables", "said"),
    [
        ({"on": "ray", "sandbox": True}, "ray", {}, "--on ray needs Ray"),
        ({"on": "ray", "sandbox": True}, "", {"RAY_ADDRESS": "127.0.0.1:9"}, "Connection refused"),
        ({"shared_limits": "redis://127.0.0.1:9/0"}, "redis", {}, "needs the redis package"),
        ({"cache_url": "redis://127.0.0.1:9/0"}, "redis", {}, "needs the redis package"),
        ({}, "", {}, "no credential was found"),
        ({"on": "ray"}, "", {}, "no credential was found"),
    ],
)
def test_what_cannot_be_is_refused_before_a_folder_is_made(
    given: dict[str, Any],
    missing: str,
    variables: dict[str, str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if given.get("on") and missing != "ray":
        pytest.importorskip("ray")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_PROFILE", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for name in (missing, *(each for each in sys.modules if each.startswith(f"{missing}."))):
        if missing:
            monkeypatch.setitem(sys.modules, name, None)
    Path("a.jsonl").write_text('"a?"\n')
    with pytest.raises(UsageError, match=said):
        run_folder(["a.jsonl"], {"out": "out/", "quiet": True, **given})
    assert not Path("out").exists()


def test_the_advice_of_a_process_is_that_of_its_last_message() -> None:
    said = "note: a\n  next: do b\nerror: c\n  next: export KEY=...\n        claude-batch resume d/"
    assert advice_in(said) == "export KEY=...\nclaude-batch resume d/"
    assert advice_in("error: killed") == ""
