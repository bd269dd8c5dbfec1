"""The pass of `estimate`: what a file amounts to."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from claude_batch.core.catalog.catalog import BUNDLED
from claude_batch.core.catalog.routing import Route
from claude_batch.core.planning.count_sample import LineSample
from claude_batch.core.planning.workload import OutputBasis
from claude_batch.errors import UsageError
from claude_batch.storage.prompts.reading import read_requests
from claude_batch.storage.prompts.shapes import Defaults
from claude_batch.storage.prompts.workload import (
    Expectation,
    Found,
    Question,
    WorkloadReader,
)
from claude_batch.storage.run.checkpoint import mean_output

HAIKU, OPUS = "claude-haiku-5-5", "claude-opus-5-5"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "prompts.jsonl"


def write(path: Path, *lines: Any) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def read(*paths: Path, defaults: Defaults | None = None, **more: Any) -> Found:
    settings = {"catalog": BUNDLED, "expectation": Expectation(), **more}
    reader = WorkloadReader(Question(**settings))
    for number, path in enumerate(paths):
        reader.read(path, defaults or Defaults(catalog=BUNDLED), before=1_000 * number)
    return reader.found()


def test_input_is_what_the_requests_of_a_run_have(path: Path) -> None:
    write(path, "hi", {"prompt": "Guten Tag", "model": OPUS}, {"prompt": "x" * 1_000})
    requests = [*read_requests(path, Defaults(catalog=BUNDLED))]
    assert read(path).workload.input_tokens == sum(each.input_tokens for each in requests)


def test_blank_lines_are_no_requests(path: Path) -> None:
    path.write_text('"hi"\n\n  \n"there"\n')
    assert read(path).workload.requests == 2


def test_output_is_at_most_what_max_tokens_allow(path: Path) -> None:
    write(path, {"prompt": "hi", "max_tokens": 10}, {"prompt": "hi", "max_tokens": 30_000})
    most = read(path).most
    assert (most.output_tokens, most.output_basis) == (30_010, OutputBasis.BOUND)


@pytest.mark.parametrize(("max_tokens", "likely"), [(100, 100), (1_024, 256), (60_000, 15_000)])
def test_a_guess_of_the_output_grows_with_max_tokens(
    path: Path, max_tokens: int, likely: int
) -> None:
    write(path, {"prompt": "hi", "max_tokens": max_tokens})
    workload = read(path).workload
    assert (workload.output_tokens, workload.output_basis) == (likely, OutputBasis.GUESSED)


def test_a_breakpoint_of_ones_own_is_seen(path: Path) -> None:
    text = {"type": "text", "text": "You grade. " * 1_000, "cache_control": {"type": "ephemeral"}}
    write(path, *({"prompt": f"essay {n}", "system": [text]} for n in range(3)))
    assert read(path).workload.loads[0].adjustments.marked == 3


@pytest.mark.parametrize(("stated", "expected"), [(20, 30), (500, 40), (0, 0)])
def test_a_stated_output_is_bounded_by_max_tokens(path: Path, stated: int, expected: int) -> None:
    write(path, {"prompt": "hi", "max_tokens": 10}, {"prompt": "hi", "max_tokens": 30})
    assert read(path, expectation=Expectation(stated=stated)).workload.output_tokens == expected


def test_lines_go_where_routes_send_them(path: Path) -> None:
    write(path, "hi", "there")
    routes = (Route(name="all", model=OPUS),)
    loads = read(path, defaults=Defaults(routes=routes, catalog=BUNDLED)).workload.loads
    assert [load.model for load in loads] == [OPUS]


def test_another_tokenizer_counts_otherwise(path: Path) -> None:
    write(path, *["The quick brown fox jumps over the lazy dog, again and again."] * 5)
    found = read(path, compare=("claude-haiku-4-5", OPUS))
    old, new = (found.compared[model].input_tokens for model in ("claude-haiku-4-5", OPUS))
    assert old < new == found.workload.input_tokens


def test_a_shared_prefix_is_found_for_live_mode_and_for_batches(path: Path) -> None:
    system = "You grade essays on a scale of ten, and you are strict but fair. " * 100
    write(path, *({"prompt": f"essay {n}", "system": system} for n in range(10)))
    found = [(each.lifetime, each.requests) for each in read(path).prefixes]
    assert found == [("5m", 10), ("1h", 10)]


def test_a_sample_is_drawn_from_all_lines(path: Path) -> None:
    write(path, *(f"prompt {n}" for n in range(100)))
    sample = LineSample(size=10, draw=random.Random(1).random)
    read(path, sample=sample)
    assert len(sample.choose()) == 10
    assert all(1 <= each.line <= 100 for each in sample.choose())


def test_files_are_added_up_and_their_lines_told_apart(path: Path, tmp_path: Path) -> None:
    write(path, "hi", {"prompt": "Guten Tag", "model": OPUS})
    other = write(tmp_path / "b.jsonl", "hello", "there")
    sample = LineSample(size=10, draw=random.Random(1).random)
    both = read(path, other, sample=sample).workload
    assert both.requests == 4
    apart = read(path).workload.input_tokens + read(other).workload.input_tokens
    assert both.input_tokens == apart
    assert [each.line for each in sample.choose()] == [1, 2, 1_001, 1_002]


def test_progress_ends_with_the_whole_file(path: Path) -> None:
    write(path, *["hello"] * 40_000)
    told: list[int] = []
    reader = WorkloadReader(Question(catalog=BUNDLED, expectation=Expectation()))
    reader.read(path, Defaults(catalog=BUNDLED), progress=told.append)
    assert told == sorted(told)
    assert told[-1] == path.stat().st_size


def test_a_line_that_went_bad_since_the_check_is_named(path: Path) -> None:
    write(path, "hi", {"promt": "hi"})
    with pytest.raises(UsageError, match=r"prompts\.jsonl:2: "):
        read(path)


def result(number: int, tokens: int, kind: str = "succeeded") -> dict[str, Any]:
    body = {"type": kind, "message": {"usage": {"output_tokens": tokens}}}
    return {"custom_id": f"line-{number}", "result": body, "meta": {"line": number}}


def test_the_mean_of_earlier_replies_is_told(tmp_path: Path) -> None:
    results = write(tmp_path / "r.jsonl", result(1, 10), result(2, 30), result(3, 99, "expired"))
    assert mean_output(results) == 20


def test_without_replies_nothing_is_known(tmp_path: Path) -> None:
    assert mean_output(tmp_path / "nowhere.jsonl") is None
