"""Whatever a server answers, the run goes on, each request ends as one line, and paid is kept."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest

from tests.support.odd_answers import KEPT, ODD, STREAMS, good, large_answers
from tests.support.program import Program
from tests.support.raw_server import RawServer, Steps, raw_server

pytestmark = [pytest.mark.whole, pytest.mark.timeout(1200)]

MOST_RSS_KB = 600_000
LARGE_TIMES = 10
"""How often each large answer comes. With more than a hundred at the end, when all others have
ended, nothing would tell them from an outage, which is waited out."""


def write_prompts(path: Path, kinds: list[str], **params: int) -> None:
    """Write a prompt for each kind of answer; its id has a number."""
    with path.open("w") as file:
        for number, kind in enumerate(kinds):
            line = {"custom_id": f"{number}", "prompt": f"{kind} #{number}", **params}
            file.write(json.dumps(line) + "\n")


def answering(answers: Mapping[str, Steps]) -> Any:
    """Return what answers a prompt by its kind, and any other well."""

    def answer(prompt: str, _: int) -> Steps:
        return answers.get(prompt.rpartition(" #")[0], [good()])

    return answer


def program_at(folder: Path, server: RawServer) -> Program:
    variables = {"ANTHROPIC_BASE_URL": f"http://{server.host}", "ANTHROPIC_API_KEY": "key-0123456"}
    return Program(folder=folder, variables=variables)


def results_of(folder: Path) -> dict[str, Any]:
    lines = [json.loads(raw) for raw in (folder / "p.results.jsonl").read_bytes().splitlines()]
    results = {line["custom_id"]: line["result"] for line in lines}
    assert len(results) == len(lines)
    return results


def memory_at_the_end(pid: int) -> int:
    """Return the most memory (kB) that a process has had, once it has ended; 0 where unknown."""
    peak_kb = 0
    while True:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return peak_kb
        if "VmHWM:" not in status:  # it has ended, and waits for us
            return peak_kb
        peak_kb = int(status.partition("VmHWM:")[2].split()[0])
        time.sleep(0.02)


def test_a_streamed_answer_that_is_complete_is_bought_once(tmp_path: Path) -> None:
    kinds = list(STREAMS)
    write_prompts(tmp_path / "p.jsonl", kinds, max_tokens=64_000)
    with raw_server(answering(STREAMS)) as server:
        done = program_at(tmp_path, server).run("run", "p.jsonl", "--no-stdout", "--yes")
        bought = Counter({text.rpartition(" #")[0]: n for text, n in server.heard.items()})
    results = results_of(tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert bought == Counter(kinds)
    assert {kinds[int(each)]: result["type"] for each, result in results.items()} == dict.fromkeys(
        kinds, "succeeded"
    )
    by_kind = {kinds[int(each)]: result["message"] for each, result in results.items()}
    assert by_kind["an emoji cut in two"]["content"][0]["text"] == "\U0001f600"
    assert by_kind["tool input"]["content"][0]["input"]["n"] == 123456789012345678901234567890
    cut = by_kind["tool input cut off"]
    assert cut["stop_reason"] == "max_tokens"
    assert cut["content"][0]["partial_json"] == '{"n": 123456789012345678901234567890, '


@pytest.mark.parametrize(
    ("count", "large"), [(100, False), pytest.param(2_000, True, marks=pytest.mark.long)]
)
def test_odd_answers_between_good_ones_end_as_lines(
    tmp_path: Path, count: int, *, large: bool
) -> None:
    larger = large_answers() if large else {}
    odd = [*(LARGE_TIMES * sorted(larger)), *islice(cycle(ODD), count)][:count]
    random.Random(7).shuffle(odd)
    odd.sort(key=lambda kind: "redirect" in kind)  # a first reply that redirects ends the run
    kinds = [kind for each in odd for kind in (each, "good")]
    write_prompts(tmp_path / "p.jsonl", kinds)
    with raw_server(answering({**ODD, **larger})) as server:
        command = ("run", "p.jsonl", "--no-stdout", "--max-attempts", "2", "--patience", "3m")
        program = program_at(tmp_path, server)
        with ThreadPoolExecutor(1) as beside:
            process = program.start(*command, "--yes", "--progress", "none", fresh=True)
            peak_kb = beside.submit(memory_at_the_end, process.pid)
            _, said = process.communicate()
    results = results_of(tmp_path)
    ended = {(kind, results[str(number)]["type"]) for number, kind in enumerate(kinds)}
    assert process.returncode == 3, said.decode()
    assert len(results) == len(kinds)
    assert ended == {(kind, "succeeded" if kind in KEPT else "errored") for kind in kinds}
    assert b"Traceback" not in said
    assert peak_kb.result() < MOST_RSS_KB
