"""Whatever a journal and results hold, there is a page."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import orjson
import pytest

from claude_batch.commands.runs.report import report_data
from claude_batch.core.model.minutes import LaneFigures, LimitFigures, Minute, Traffic
from claude_batch.core.model.snapshot import WaitKind
from claude_batch.report.page import page_html
from claude_batch.storage.run.journal import journal_path
from tests.support.past_run import BEGAN_AT, PastRun

ODD: list[Any] = [None, True, [], {}, [1], {"a": 1}, -5, 0, 10**18, 1e300, -1e20, 0.5, 7, "", "<b>"]
KINDS = ["requests", "input_tokens", "", "x", "<b>"]
REASONS = [
    *(kind.value for kind in WaitKind),
    "limit:requests",
    "pace:input_tokens",
    "limit:",
    ":",
    "x:y",
]


class Odd:
    """Records of every kind with odd values, drawn from a seed."""

    def __init__(self, seed: int) -> None:
        self._drawn = random.Random(seed)

    def value(self) -> Any:
        return self._drawn.choice(ODD)

    def of(self, kind: type, /, **known: Any) -> dict[str, Any]:
        """Return a record of a kind; each field is there or not, as known or odd."""
        names = [each.name for each in fields(kind) if self._drawn.random() < 0.8]
        odd = self._drawn.choice([0.05, 0.5])
        return {
            name: known[name] if name in known and self._drawn.random() > odd else self.value()
            for name in names
        }

    def counts(self, names: list[str]) -> dict[str, Any]:
        return {self._drawn.choice(names): self.value() for _ in range(3)}

    def minute(self) -> dict[str, Any]:
        limits = [
            self.of(LimitFigures, kind=self._drawn.choice(KINDS), per_minute=60.0, least=1.0)
            for _ in range(3)
        ]
        lanes = [
            self.of(LaneFigures, lane="L", limits=limits, waits=self.counts(REASONS))
            for _ in range(2)
        ]
        return self.of(
            Minute,
            at=BEGAN_AT + self._drawn.uniform(0, 1e5),
            seconds=self._drawn.choice([0.001, 5.0, 60.0]),
            traffic=[self.of(Traffic, lane="L", attempts=9) for _ in range(2)],
            lanes=lanes,
            failures=self.counts(KINDS),
            limited=self.counts(KINDS),
            latency=self.counts([str(self._drawn.randint(-2_000, 2_000)), "5", "x"]),
            examples=self.counts(KINDS),
        )

    def records(self) -> Iterator[dict[str, Any]]:
        names = ("at", "until", "lane", "why", "endpoint", "changes", "pause", "state")
        for kind in self._drawn.choices(["minute", "waited", "switched", "adjusted", "new"], k=12):
            record = self.minute() if kind == "minute" else {name: self.value() for name in names}
            yield {**record, "type": kind}


@pytest.mark.parametrize("seed", range(30))
def test_an_odd_journal_has_a_page(tmp_path: Path, seed: int) -> None:
    run = PastRun(folder=tmp_path, total=3, finished=False)
    results = run.write()
    with journal_path(results).open("ab") as file:
        file.writelines(orjson.dumps(each) + b"\n" for each in Odd(seed).records())
    page = page_html(report_data(results))
    assert page.endswith("</html>\n")
    assert "nan%" not in page


@pytest.mark.parametrize("seed", range(10))
def test_odd_results_have_a_page(tmp_path: Path, seed: int) -> None:
    odd = Odd(seed)
    run = PastRun(folder=tmp_path, total=3, finished=False)
    results = run.write()
    names = ("usage", "model", "stop_reason", "content", "error", "line", "cost_usd", "attempts")
    with results.open("ab") as file:
        file.write(b'\0\0\xff\n{"custom_id":\n')
        for n in range(20):
            values = {name: odd.value() for name in names}
            result = {"type": "succeeded", "message": values, "error": values}
            value = {"custom_id": f"odd-{n}", "result": result, "meta": values}
            file.write(orjson.dumps(value) + b"\n")
    assert page_html(report_data(results)).endswith("</html>\n")
