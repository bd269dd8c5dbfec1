"""Whatever a journal and results hold, there is a page."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claude_batch.commands.runs.report import report_data
from claude_batch.core.model.minutes import LaneFigures, LimitFigures, Minute, Traffic
from claude_batch.core.model.snapshot import WaitKind
from claude_batch.report.page import page_html
from claude_batch.storage.run.journal import journal_path
from tests.support.past_run import BEGAN_AT, PastRun

NUMBERS = st.one_of(
    st.integers(-5, 10**6), st.floats(-1e20, 1e20), st.just(0), st.just(10**18), st.just(None)
)
TEXTS = st.one_of(st.text(max_size=5), st.sampled_from(["requests", "input_tokens", "api", "<b>"]))
ANY: st.SearchStrategy[Any] = st.one_of(NUMBERS, TEXTS, st.booleans(), st.just([]), st.just({}))


def records(kind: type, **known: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    values = {each.name: st.one_of(NUMBERS, TEXTS) for each in fields(kind)}
    return st.fixed_dictionaries({}, optional={**values, **known})


LIMITS = st.lists(records(LimitFigures), max_size=3)
WAITS = st.dictionaries(
    st.sampled_from([*WaitKind, "limit:requests", "pace:input_tokens", "limit:", ":", "x:y"]),
    NUMBERS,
)
MINUTES = records(
    Minute,
    at=st.one_of(ANY, st.floats(BEGAN_AT, BEGAN_AT + 1e5)),
    seconds=st.one_of(ANY, st.floats(0.001, 60.0)),
    traffic=st.one_of(ANY, st.lists(records(Traffic), max_size=3)),
    lanes=st.one_of(ANY, st.lists(records(LaneFigures, limits=LIMITS, waits=WAITS), max_size=2)),
    failures=st.dictionaries(TEXTS, NUMBERS, max_size=3),
    limited=st.dictionaries(TEXTS, NUMBERS, max_size=3),
    latency=st.dictionaries(st.integers(-2_000, 2_000).map(str), NUMBERS, max_size=4),
    examples=st.dictionaries(TEXTS, ANY, max_size=2),
)
OTHERS = st.fixed_dictionaries(
    {"type": st.sampled_from(["opened", "closed", "waited", "switched", "adjusted"])},
    optional={
        "at": st.one_of(ANY, st.just("2026-11-30T12:00:00.000Z"), st.just("0001-01-01")),
        **dict.fromkeys(("until", "lane", "why", "endpoint", "changes", "pause", "state"), ANY),
    },
)
BATCHES = st.fixed_dictionaries(
    {"type": st.sampled_from(["batch_noted", "batch_intents"])}, optional={"chunk": ANY}
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(MINUTES.map(lambda m: {**m, "type": "minute"}), OTHERS, BATCHES)))
def test_an_odd_journal_has_a_page(tmp_path: Path, odd: list[dict[str, Any]]) -> None:
    run = PastRun(folder=tmp_path, total=3, finished=False)
    results = run.write()
    with journal_path(results).open("ab") as file:
        for record in odd:
            if record["type"] not in {"opened", "closed"}:  # what is needed to know the run
                file.write(orjson.dumps(record) + b"\n")
    page = page_html(report_data(results))
    assert page.endswith("</html>\n")
    assert "nan" not in page.lower().replace("finance", "")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=40)), st.lists(st.dictionaries(TEXTS, ANY, max_size=4)))
def test_odd_results_have_a_page(
    tmp_path: Path, junk: list[bytes], odd: list[dict[str, Any]]
) -> None:
    run = PastRun(folder=tmp_path, total=3, finished=False)
    results = run.write()
    with results.open("ab") as file:
        file.writelines(line + b"\n" for line in junk)
        for n, values in enumerate(odd):
            result = {"type": "succeeded", "message": values, "error": values}
            value = {"custom_id": f"odd-{n}", "result": result, "meta": values}
            file.write(orjson.dumps(value) + b"\n")
    assert page_html(report_data(results)).endswith("</html>\n")
