"""The first rows of every file are looked at before a run folder is made."""

from __future__ import annotations

import gzip
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from claude_batch.commands.folder.check import small_files_note, with_rows
from claude_batch.config.reading import read_settings
from claude_batch.core.model.answers import AnswerColumns
from claude_batch.errors import UsageError
from claude_batch.storage.folder.copies import Copies
from claude_batch.storage.folder.inputs import Input
from claude_batch.storage.folder.manifest import Shard
from claude_batch.ui.screen.opening import open_screen
from tests.storage.folder.test_manifest import SHARDS


def usable(*paths: Path) -> set[Path]:
    return taken([Input(source=str(each), name=each.name, size=1) for each in paths])


def taken(found: list[Input]) -> set[Path]:
    screen = open_screen("plain", quiet=False)
    rows = with_rows(found, Copies(lambda *_: None), read_settings({}, {}), screen)
    return {Path(each.source) for each in rows}


def test_files_without_rows_are_left_out(tmp_path: Path) -> None:
    rows, late = tmp_path / "rows.csv", tmp_path / "late.jsonl"
    rows.write_text("prompt,n\nhello,1\n")
    late.write_text("\n" * 30 + '"hello"\n')
    header, empty, blank = tmp_path / "header.csv.gz", tmp_path / "e.jsonl", tmp_path / "b.jsonl"
    header.write_bytes(gzip.compress(b"prompt,n\n"))
    empty.touch()
    blank.write_text("\n\n")
    assert usable(rows, late, header, empty, blank) == {rows, late}


def test_a_file_of_another_kind_is_refused_by_its_name(tmp_path: Path) -> None:
    good, other, third = (tmp_path / name for name in ("a.csv", "b.csv", "c.jsonl"))
    good.write_text("prompt\nhello\n")
    other.write_text("text,label\nhello,1\nworld,2\n")
    third.write_text('{"promt": "hello"}\n')
    with pytest.raises(UsageError) as refused:
        usable(good, other, third)
    assert "b.csv: there is no column 'prompt'" in refused.value.message
    assert "1 other file cannot be used either" in refused.value.message
    assert "--prompt-column text" in refused.value.hint


def test_one_bad_row_is_left_to_the_check_of_its_shard(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"promt": "hello"}\n"good"\n')
    assert usable(path) == {path}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "own.csv",
            f"prompt,{','.join(AnswerColumns(prefix='said').names)}\nhello,hi,succeeded,,,1,1,0\n",
        ),
        ("own.jsonl", '{"custom_id": "1", "result": {"type": "succeeded"}}\n'),
        ("own.jsonl", '{"custom_id": "1", "type": "succeeded", "text": "", "stop_reason": ""}\n'),
    ],
)
def test_answers_of_an_earlier_run_are_left_out_unless_they_are_named_or_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: str
) -> None:
    own, rows = tmp_path / name, tmp_path / "rows.csv"
    own.write_text(content)
    rows.write_text("prompt,answer\nhello,hi\n")
    assert usable(own, rows) == {rows}
    assert f"{name} is left out: these are answers of an earlier run" in capsys.readouterr().err
    if own.suffix == ".csv":  # whose rows have a prompt
        found = [Input(source=str(each), name="", size=1, is_named=True) for each in (own, rows)]
        assert taken(found) == {own, rows}
        assert "own.csv is taken as named" in capsys.readouterr().err
        assert usable(own) == {own}
        assert capsys.readouterr().err == ""


def shards_of(paths: list[Path], *, rows: int) -> list[Shard]:
    one = replace(SHARDS[0], lines=rows)
    return [replace(one, source=str(each), shard=n) for n, each in enumerate(paths, 1)]


def test_many_small_files_are_better_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    paths = [tmp_path / "in" / f"{number}.csv" for number in range(60)]
    for path in paths:
        path.write_text(f"prompt,n\nhello,{path.stem}")
    note = small_files_note(shards_of(paths, rows=5))
    command = re.search(r": (awk .*), then run all.csv", note)
    assert note.startswith("60 files with about 5 rows each")
    assert command is not None
    subprocess.run(command[1], shell=True, check=True)  # noqa: S602  # as it is printed
    joined = (tmp_path / "all.csv").read_text().splitlines()
    assert (joined[0], len(joined)) == ("prompt,n", 61)
    assert "awk 1 in/*.csv > all2.csv" in small_files_note(shards_of(paths, rows=5), headers=False)


def test_few_or_large_files_and_files_of_several_kinds_have_no_command(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.csv" for number in range(60)]
    assert small_files_note(shards_of(paths, rows=100)) == ""
    assert small_files_note(shards_of(paths[:50], rows=5)) == ""
    assert small_files_note(shards_of(paths, rows=5)).endswith("are much faster")
