"""How much is tried: little for every commit, more in the long form (`make test-long`)."""

from __future__ import annotations

import gc
import os
import signal
from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support import forking

BUSY = [HealthCheck.too_slow]
"""What Hypothesis finds unhealthy on a machine that has other work: no time is a fault here."""

settings.register_profile(
    "commit", deadline=None, suppress_health_check=BUSY, max_examples=60, derandomize=True
)
settings.register_profile(
    "long",
    deadline=None,
    suppress_health_check=BUSY,
    max_examples=600,
    derandomize="CI" in os.environ,  # a judge has to find the same twice; a person may be lucky
    print_blob=True,
)
settings.load_profile("commit")

# A shell starts what it puts into the background with Ctrl-C ignored, nohup with hang-ups ignored,
# and children inherit it: the programs that the tests interrupt would never hear of it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_configure(config: pytest.Config) -> None:
    """Load the program once for all processes that test (`pytest --numprocesses`)."""
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        forking.share_one_process()


gc.disable()
"""While tests are collected everything is kept: see `pytest_collection_finish`."""


def pytest_collection_finish() -> None:
    """Collect garbage from now on, and none of what is there for good: the tests themselves."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Spread the modules of whole runs, which mostly wait, among those that compute."""
    placed: list[tuple[float, int, list[pytest.Item]]] = []
    whole = Path(__file__).parent / "whole"
    for waits in (False, True):
        some = [each for each in items if each.path.is_relative_to(whole) == waits]
        before = 0
        for number, (_, found) in enumerate(groupby(some, lambda each: each.path)):
            module = list(found)
            placed.append(((before + len(module) / 2) / len(some), number, module))
            before += len(module)
    placed.sort(key=lambda each: each[:2])
    items[:] = [item for _, _, module in placed for item in module]
