"""Inputs in object storage are read as local ones are: against moto."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.killing import QUICK
from tests.support.program import Program, served, wait_for
from tests.support.s3_server import SECRET, S3Server, s3_server

pytestmark = [pytest.mark.whole, pytest.mark.services]

BUCKET = "bucket"


def lines(name: str, count: int) -> bytes:
    return "".join(f'"{name}, question {n}?"\n' for n in range(1, count + 1)).encode()


def table(count: int) -> bytes:
    """Return a table without line ends in cells; its header is longer than a row."""
    rows = "".join(f'"row, {n}",{n}\n' for n in range(1, count + 1))
    return f"prompt,{'number' * 30}\n{rows}".encode()


def parquet(count: int) -> bytes:
    arrow = pytest.importorskip("pyarrow")
    parquet_files = pytest.importorskip("pyarrow.parquet")
    rows = arrow.table({"prompt": [f"row {n}" for n in range(1, count + 1)]})
    buffer = io.BytesIO()
    parquet_files.write_table(rows, buffer)
    return buffer.getvalue()


INPUTS: dict[str, Callable[[], bytes]] = {
    "in/a.jsonl": lambda: lines("a", 12),
    "in/b.jsonl.gz": lambda: gzip.compress(lines("b", 3)),
    "in/sub/c.csv": lambda: table(11),
    "in/sub/d.csv": lambda: b'prompt\n"two\nlines"\nthree\n',
    "in/e.parquet": lambda: parquet(4),
    "in/readme.md": lambda: b"no input",
    "in/.hidden.jsonl": lambda: lines("hidden", 1),
    "in/old.results.jsonl": lambda: lines("old", 1),
    "in/run/manifest.json": lambda: b'{"format":1}',
    "in/run/shards/x.jsonl": lambda: lines("x", 1),
}

IDS = [
    *(f"a.jsonl:{n}" for n in range(1, 13)),
    *(f"b.jsonl.gz:{n}" for n in range(1, 4)),
    *(f"e.parquet:{n}" for n in range(2, 6)),
    *(f"sub/c.csv:{n}" for n in range(2, 13)),
    *("sub/d.csv:2", "sub/d.csv:4"),
]


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with s3_server() as server:
        server.make_bucket(BUCKET)
        for key, content in INPUTS.items():
            server.put(BUCKET, key, content())
        yield server


@pytest.fixture(scope="module")
def variables(s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with served(tmp_path_factory.mktemp("api"), QUICK) as sandbox:
        yield sandbox.variables | dict(s3.environment)


@pytest.fixture
def program(tmp_path: Path, variables: dict[str, str]) -> Program:
    return Program(folder=tmp_path, variables=variables)


def ids(program: Program, results: str = "out/") -> list[str]:
    printed = program.run("results", results, "--ordered")
    assert printed.returncode == 0, printed.stderr
    return [json.loads(line)["custom_id"] for line in printed.stdout.splitlines()]


def manifest(program: Program) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((program.folder / "out/manifest.json").read_bytes())
    return found


def test_a_folder_in_a_bucket_is_cut_and_read_like_a_local_one(
    program: Program, s3: S3Server
) -> None:
    command = ("run", "s3://bucket/in/", "--out", "out/", "--shard-size", "5")
    run = program.run(*command)
    assert run.returncode == 0, run.stderr.decode()
    assert ids(program) == IDS
    shards = manifest(program)["shards"]
    first, whole = shards[0], next(each for each in shards if each["end"] is None)
    assert (first["source"], first["name"]) == ("s3://bucket/in/a.jsonl", "a.jsonl")
    assert first["etag"]
    assert not first["sha256"]
    assert (whole["name"], whole["size"]) == ("b.jsonl.gz", len(s3.get(BUCKET, "in/b.jsonl.gz")))
    prompts = [
        program.folder / f"out/shards/{each['shard']:04}/1.results.jsonl.prompts"
        for each in shards
        if each["name"] == "sub/c.csv"
    ]
    rows = [json.loads(line)["row"] for path in prompts for line in path.read_text().splitlines()]
    assert [each["prompt"] for each in rows] == [f"row, {n}" for n in range(1, 12)]
    again = program.run(*command)
    assert (again.returncode, len(ids(program))) == (0, len(IDS))
    written = [each for each in program.folder.rglob("*") if each.is_file()]
    assert not any(SECRET.encode() in each.read_bytes() for each in written)


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (("s3://bucket/in/[!o]*.jsonl",), [f"a.jsonl:{n}" for n in range(1, 13)]),
        (("s3://bucket/**/d.csv",), ["d.csv:2", "d.csv:4"]),
        (("s3://bucket/in/sub",), IDS[-13:]),
        (("l.jsonl", "s3://bucket/in/sub/d.csv"), None),
    ],
)
def test_globs_folders_and_local_files_go_together(
    program: Program, inputs: tuple[str, ...], expected: list[str] | None
) -> None:
    (program.folder / "l.jsonl").write_bytes(lines("l", 1))
    run = program.run("run", *inputs, "--out", "out/")
    assert run.returncode == 0, run.stderr.decode()
    if expected is None:
        place = f"{program.folder}/l.jsonl:1"
        expected = [place, "s3://bucket/in/sub/d.csv:2", "s3://bucket/in/sub/d.csv:4"]
    else:
        expected = [each.removeprefix("sub/") for each in expected]
    assert ids(program) == expected


def test_one_object_may_have_one_results_file(program: Program, s3: S3Server) -> None:
    s3.put(BUCKET, "one.jsonl", lines("one", 3))
    asked = program.run("run", "s3://bucket/one.jsonl")
    assert asked.returncode == 2
    assert b"claude-batch run s3://bucket/one.jsonl --out one.results.jsonl" in asked.stderr
    command = ("run", "s3://bucket/one.jsonl", "--out", "one.results.jsonl", "--no-stdout")
    assert program.run(*command).returncode == 0
    assert len(ids(program, "one.results.jsonl")) == 3
    assert program.run(*command).returncode == 0
    s3.put(BUCKET, "one.jsonl", lines("other", 3))
    changed = program.run(*command)
    assert changed.returncode == 5
    assert b"other prompts" in changed.stderr
    assert program.run("resume", "one.results.jsonl", "--no-stdout").returncode == 0
    asked = program.run("run", "s3://bucket/in/")
    assert asked.returncode == 2
    assert b"add --out DIR/" in asked.stderr


def test_an_object_that_has_changed_is_noticed(program: Program, s3: S3Server) -> None:
    old = lines("old", 20)
    s3.put(BUCKET, "changing.jsonl", old)
    made = ("run", "s3://bucket/changing.jsonl", "--out", "out/", "--shard-size", "10")
    assert program.run(*made, "--shard", "1").returncode == 0
    s3.put(BUCKET, "changing.jsonl", lines("new", 20))
    refused = program.run("run", "out/")
    assert refused.returncode == 5
    assert b"s3://bucket/changing.jsonl: has changed since the run folder was made" in (
        refused.stderr
    )
    s3.put(BUCKET, "changing.jsonl", old)
    assert program.run("run", "out/").returncode == 0
    assert len(ids(program)) == 20


def test_a_shard_that_has_begun_needs_its_object_no_more(program: Program, s3: S3Server) -> None:
    s3.put(BUCKET, "leaving.jsonl", lines("leaving", 80))
    process = program.start(
        *("run", "s3://bucket/leaving.jsonl", "--out", "out/", "--concurrency", "2")
    )
    results = program.folder / "out/shards/0001/1.results.jsonl"
    wait_for(lambda: results.exists() and results.read_bytes().count(b"\n") > 4)
    process.kill()
    process.communicate()
    s3.put(BUCKET, "leaving.jsonl", b'"another"\n')
    assert program.run("resume", "out/").returncode == 5
    s3.delete(BUCKET, "leaving.jsonl")
    assert program.run("resume", "out/", "--concurrency", "none").returncode == 0
    assert len(set(ids(program))) == 80


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://bucket/in/aa.jsonl", b"did you mean s3://bucket/in/a.jsonl?"),
        ("s3://bucket/inn/x.jsonl", b"there are no objects in s3://bucket/inn/"),
        ("s3://bucket/in/subb/", b"did you mean s3://bucket/in/sub/?"),
        ("s3://bucket/in/*.tsv", b"no file of prompts or rows there"),
        ("s3://buckets/in/a.jsonl", b"there is no bucket buckets"),
        ("https://host/a.jsonl", b"curl -LO https://host/a.jsonl"),
    ],
)
def test_what_is_not_there_is_said_with_what_may_be_meant(
    program: Program, url: str, said: bytes
) -> None:
    run = program.run("run", url, "--out", "out/")
    assert (run.returncode, (program.folder / "out").exists()) == (2, False)
    assert said in run.stderr


def test_without_credentials_the_variables_are_named(program: Program) -> None:
    gone = program.variables | {"AWS_ACCESS_KEY_ID": "", "AWS_EC2_METADATA_DISABLED": "true"}
    run = replace(program, variables=gone).run("run", "s3://bucket/in/", "--out", "out/")
    assert run.returncode == 2
    assert b"no credentials found" in run.stderr
    assert b"set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in run.stderr


def test_check_and_estimate_read_objects(program: Program) -> None:
    check = program.run("check", "s3://bucket/in/sub/c.csv", "--json")
    assert json.loads(check.stdout)["requests"] == 11
    check = program.run("check", "s3://bucket/in/")
    assert (check.returncode, check.stdout.count(b"no bad line")) == (0, 5)
    estimate = program.run("estimate", "s3://bucket/in/a.jsonl", "--json")
    found = json.loads(estimate.stdout)
    assert found["requests"] == 12
    assert "run s3://bucket/in/a.jsonl --out a.results.jsonl" in found["recommendation"]
    estimate = program.run("estimate", "s3://bucket/in/", "--json", "--sample", "5")
    found = json.loads(estimate.stdout)
    assert (found["files"], found["requests"], found["counted_lines"]) == (5, 32, 5)


def test_the_table_of_a_folder_in_a_bucket_has_the_columns_of_its_inputs(
    program: Program, s3: S3Server
) -> None:
    s3.put(BUCKET, "rows.csv", b"text,label\nhello,a\nworld,b\n")
    out = f"s3://{BUCKET}/table/"
    made = program.run("run", f"s3://{BUCKET}/rows.csv", "--out", out, "--prompt-column", "text")
    assert made.returncode == 0, made.stderr.decode()
    read = program.run("results", out, "-o", "table.csv")
    assert read.returncode == 0, read.stderr.decode()
    assert b"gone" not in read.stderr
    rows = (program.folder / "table.csv").read_text().splitlines()
    assert rows[0].startswith("text,label,answer,")
    assert [row[:8] for row in rows[1:]] == ["hello,a,", "world,b,"]
