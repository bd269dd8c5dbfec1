"""Prompts with pictures, as people send them: live, as batches, killed, from a cache, changed."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support import images
from tests.support.killing import lines_of
from tests.support.program import Program, Served, served, wait_for

pytestmark = pytest.mark.whole

SAMPLES = Path(__file__).parents[2] / "samples"
QUICK = """
[limits]
rpm = 0
itpm = 0
otpm = 0
[latency]
base_s = 0.1
per_output_token_s = 0.0
[batches]
duration_s = 0.3
spread = 0.0
"""
QUIET = ("--no-stdout", "--progress", "none")


def write_prompts(folder: Path, count: int, *, padding: int = 0) -> Path:
    """Write `count` prompts, each with a picture of its own, and return their file."""
    (folder / "scans").mkdir()
    path = folder / "p.jsonl"
    with path.open("w") as file:
        for number in range(count):
            picture = folder / "scans" / f"{number}.png"
            picture.write_bytes(images.png(64 + number, 64, padding=padding))
            os.utime(picture, (1_600_000_000, 1_600_000_000))
            source = {"type": "path", "path": f"scans/{number}.png"}
            content = [
                {"type": "image", "source": source},
                {"type": "text", "text": "What is it?"},
            ]
            line = {"custom_id": f"p{number}", "messages": [{"role": "user", "content": content}]}
            file.write(json.dumps(line) + "\n")
    return path


def a_program(folder: Path, sandbox: Served) -> Program:
    quick = {"CLAUDE_BATCH_LIST_LAG": "3s", "CLAUDE_BATCH_FIRST_POLL": "0.1s"}
    return Program(folder=folder, variables={**sandbox.variables, **quick})


def results(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "p.results.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("mode", ["live", "batch"])
def test_pictures_are_sent_from_another_folder(tmp_path: Path, mode: str) -> None:
    work = tmp_path / "work"
    work.mkdir()
    write_prompts(work, 12)
    with served(tmp_path, QUICK) as sandbox:
        program = a_program(tmp_path, sandbox)
        run = program.run("run", "work/p.jsonl", "--mode", mode, "--yes", *QUIET)
        assert run.returncode == 0, run.stderr
    found = results(work)
    assert {line["result"]["type"] for line in found} == {"succeeded"}
    used = [line["result"]["message"]["usage"]["input_tokens"] for line in found]
    assert max(used) < 60  # about 9 tokens for a picture of 64 x 64


@pytest.mark.parametrize("mode", ["live", "batch"])
def test_a_killed_run_sends_every_picture_once(tmp_path: Path, mode: str) -> None:
    write_prompts(tmp_path, 300)
    command = ("run", "p.jsonl", "--mode", mode, "--yes", "--batch-size", "50", *QUIET)
    with served(tmp_path, QUICK) as sandbox:
        program = a_program(tmp_path, sandbox)
        run = program.start(*command)
        wait_for(lambda: lines_of(tmp_path / "p.results.jsonl") or run.poll() is not None)
        run.send_signal(signal.SIGKILL)
        run.communicate()
        again = program.run("resume", "p.results.jsonl", *QUIET)
        assert again.returncode == 0, again.stderr
    ids = Counter(line["custom_id"] for line in results(tmp_path))
    assert ids == Counter(f"p{number}" for number in range(300))


@pytest.mark.parametrize("mode", ["live", "batch"])
def test_a_picture_changed_during_a_run_fails_its_request_only(tmp_path: Path, mode: str) -> None:
    prompts = write_prompts(tmp_path, 3).read_text()
    os.mkfifo(tmp_path / "pipe")
    with served(tmp_path, QUICK) as sandbox:
        program = a_program(tmp_path, sandbox)
        out = ("--out", "p.results.jsonl", "--no-canary")
        run = program.start("run", "pipe", *out, "--mode", mode, "--yes", *QUIET)
        wait_for((tmp_path / "p.results.jsonl.lock").exists)  # it has begun, and waits for the pipe
        (tmp_path / "scans/1.png").write_bytes(images.png(99, 99))
        (tmp_path / "pipe").write_text(prompts)
        _, err = run.communicate()
        assert run.returncode == 3, err
        ended = {line["custom_id"]: line["result"] for line in results(tmp_path)}
        assert [ended[name]["type"] for name in ("p0", "p2")] == ["succeeded"] * 2
        message = ended["p1"]["error"]["error"]["message"]
        again = program.run("resume", "p.results.jsonl", "--retry-errored", *QUIET)
        assert again.returncode == 0, again.stderr
    assert message.startswith(f"pipe:2: {tmp_path}/scans/1.png was changed after the check")


def test_pictures_of_equal_bytes_share_an_answer(tmp_path: Path) -> None:
    write_prompts(tmp_path, 2)
    (tmp_path / "scans/1.png").write_bytes((tmp_path / "scans/0.png").read_bytes())
    os.utime(tmp_path / "scans/1.png", (1_500_000_000, 1_500_000_000))
    with served(tmp_path, QUICK) as sandbox:
        program = a_program(tmp_path, sandbox)
        run = program.run("run", "p.jsonl", "--dedupe", *QUIET)
        assert run.returncode == 0, run.stderr
        assert len(sandbox.requests()) == 1


def test_an_answer_to_another_picture_is_not_used(tmp_path: Path) -> None:
    write_prompts(tmp_path, 1)
    with served(tmp_path, QUICK) as sandbox:
        program = a_program(tmp_path, sandbox)
        command = ("run", "p.jsonl", "--cache", *QUIET)
        for size, sent in ((64, 1), (64, 1), (65, 2)):
            (tmp_path / "scans/0.png").write_bytes(images.png(size, size))
            assert program.run(*command, "--fresh").returncode == 0
            assert len(sandbox.requests()) == sent


def test_estimate_and_bill_agree_on_small_pictures(tmp_path: Path) -> None:
    write_prompts(tmp_path, 20)
    with served(tmp_path, QUICK) as sandbox:
        program = a_program(tmp_path, sandbox)
        estimate = json.loads(program.run("estimate", "p.jsonl", "--json").stdout)
        assert program.run("run", "p.jsonl", *QUIET).returncode == 0
    billed = sum(line["result"]["message"]["usage"]["input_tokens"] for line in results(tmp_path))
    assert 400 < billed < 600
    assert estimate["input_tokens"] == pytest.approx(billed, rel=0.1)


def test_the_samples_become_a_table_whatever_folder_they_are_resumed_from(tmp_path: Path) -> None:
    shutil.copytree(SAMPLES / "images", tmp_path / "in/images")
    shutil.copy(SAMPLES / "scans.csv", tmp_path / "in")
    (tmp_path / "elsewhere").mkdir()
    command = ("--attach", "scan", "--prompt", "What is the total?", "-o", "totals.csv", *QUIET)
    with served(tmp_path, QUICK) as sandbox:
        program = a_program(tmp_path, sandbox)
        bound = program.run("run", "in/scans.csv", *command, "--limit", "2", "--yes")
        assert bound.returncode == 6, bound.stderr
        elsewhere = a_program(tmp_path / "elsewhere", sandbox)
        run = elsewhere.run("resume", "../totals.csv", *QUIET)
        assert run.returncode == 0, run.stderr
    with (tmp_path / "totals.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["scan"] for row in rows][:2] == ["images/receipt-1.png", "images/receipt-2.jpg"]
    assert {row["answer_status"] for row in rows} == {"succeeded"}


@pytest.mark.long
@pytest.mark.parametrize("mode", ["live", "batch"])
def test_memory_does_not_grow_with_the_pictures(tmp_path: Path, mode: str) -> None:
    write_prompts(tmp_path, 500, padding=1_000_000)
    with served(tmp_path, QUICK) as sandbox:
        program = a_program(tmp_path, sandbox)
        run = program.start("run", "p.jsonl", "--mode", mode, "--yes", *QUIET)
        most = 0
        while run.poll() is None:
            most = max(most, resident_mb(run.pid))
            time.sleep(0.02)
        run.communicate()
        assert run.returncode == 0
    assert len(results(tmp_path)) == 500
    assert most < 250


def resident_mb(pid: int) -> int:
    """Return the memory of a process in MB; 0 where it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")]
    return int(found[0]) // 1_000 if found else 0


def write_pdfs(folder: Path) -> None:
    """Write three PDFs of one to three pages, and both kinds of files that name them."""
    (folder / "scans").mkdir()
    for pages in (1, 2, 3):
        (folder / "scans" / f"{pages}.pdf").write_bytes(images.pdf(pages, packed=pages == 2))
    (folder / "t.csv").write_text("file\n" + "".join(f"scans/{n}.pdf\n" for n in (1, 2, 3)))
    with (folder / "p.jsonl").open("w") as file:
        for pages in (1, 2, 3):
            source = {"type": "path", "path": f"scans/{pages}.pdf"}
            content = [{"type": "document", "source": source}, {"type": "text", "text": "Total?"}]
            file.write(json.dumps({"messages": [{"role": "user", "content": content}]}) + "\n")


@pytest.mark.parametrize("mode", ["live", "batch"])
@pytest.mark.parametrize(
    "asked", [("p.jsonl",), ("t.csv", "--attach", "file", "--prompt", "Total?")], ids=str
)
def test_pdfs_by_path_are_estimated_sent_and_answered(
    tmp_path: Path, asked: tuple[str, ...], mode: str
) -> None:
    write_pdfs(tmp_path)
    with served(tmp_path, QUICK) as sandbox:
        program = a_program(tmp_path, sandbox)
        shown = program.run("check", *asked, "--show", "1", "--json")
        estimate = json.loads(program.run("estimate", *asked, "--json").stdout)
        run = program.run("run", *asked, "-o", "o.csv", "--mode", mode, "--yes", *QUIET)
        assert run.returncode == 0, run.stderr
    content = json.loads(shown.stdout)["shown"][0]["params"]["messages"][0]["content"]
    assert [each["type"] for each in content] == ["document", "text"]
    assert content[0]["source"].keys() == {"type", "media_type", "data"}
    assert content[0]["source"]["data"].endswith("scans/1.pdf)")
    assert 6 * 3_000 < estimate["input_tokens"] < 6 * 4_000
    with (tmp_path / "o.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["answer_status"] for row in rows] == ["succeeded"] * 3
    assert all(int(row["answer_input_tokens"]) > 1_000 for row in rows)


@pytest.mark.parametrize(
    ("pdf", "model", "what"),
    [
        (images.pdf(601), "claude-sonnet-5-5", "there are 601 PDF pages"),
        (images.pdf(101), "claude-haiku-4-5", "there are 101 PDF pages"),
        (images.pdf(1) + bytes(25_000_000), "claude-sonnet-5-5", "is too large"),
        (b"hello", "claude-sonnet-5-5", "is neither a picture"),
    ],
    ids=["pages", "pages-of-a-small-model", "bytes", "no-pdf"],
)
def test_a_pdf_that_the_api_refuses_is_found_in_the_check(
    tmp_path: Path, pdf: bytes, model: str, what: str
) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf)
    (tmp_path / "t.csv").write_text("file\na.pdf\n")
    checked = Program(folder=tmp_path).run(
        "check", "t.csv", "--attach", "file", "--prompt", "Total?", "--model", model
    )
    assert checked.returncode == 2
    assert what in checked.stderr.decode()
