"""Ids are unique over all inputs of a run folder, wherever they come from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from claude_batch.config.options import Options
from claude_batch.errors import InvalidPromptsError
from claude_batch.storage.folder import ids as module
from claude_batch.storage.folder.copies import Copies
from claude_batch.storage.folder.ids import FolderIds, IdReader, Place
from claude_batch.storage.folder.inputs import Input
from claude_batch.storage.prompts.options import columns_of, input_options


def reader(folder: Path, files: dict[str, str | bytes], **options: Any) -> IdReader:
    """Return what reads the ids of some files, which are written first."""
    for name, content in files.items():
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    these = Options(**options)
    inputs = [Input(source=str(folder / name), name=name, size=0) for name in files]
    return IdReader(
        inputs, Copies(lambda *_: None), columns_of(these), input_options(these), lambda _, __: None
    )


def refused(found: IdReader, matters: Callable[[Place, Place], bool] | None = None) -> str:
    """Return why the ids are refused; "" where they are not."""
    try:
        found.refuse_repeated(found.plan(), matters)
    except InvalidPromptsError as error:
        return f"{error.message} ({error.hint})"
    return ""


def lines(*values: object) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


def named(*ids: object) -> str:
    """Return JSON rows with these custom_ids."""
    return lines(*({"custom_id": each, "prompt": "?"} for each in ids))


BY_ID = FolderIds(columns=("custom_id", "id"), are_unique=True)


@pytest.mark.parametrize(
    ("files", "columns"),
    [
        ({"a.csv": "id,prompt\n1,x\n2,y\n", "b.csv": "id,prompt\n3,z\n"}, ("custom_id", "id")),
        ({"a.csv": "id,prompt\n1,x\n", "b.csv": "id,prompt\n1,z\n"}, ("custom_id",)),
        ({"a.csv": "id,prompt\n1,x\n,y\n", "b.csv": "id,prompt\n3,z\n"}, ("custom_id",)),
        ({"a.csv": "id,prompt\n1,x\n", "b.csv": "prompt\nz\n"}, ("custom_id",)),
        ({"a.json": '[{"id": 7, "prompt": "a"}]', "b.csv": "id,prompt\n8,x\n"}, BY_ID.columns),
        ({"a.jsonl": lines({"id": 7, "prompt": "a"}, "and")}, ("custom_id",)),
        ({"a.jsonl": lines({"id": 7, "prompt": "a"}) + "\n{\n"}, BY_ID.columns),
    ],
)
def test_a_column_id_is_taken_where_every_row_has_one_of_its_own(
    tmp_path: Path, files: dict[str, str | bytes], columns: tuple[str, ...]
) -> None:
    plan = reader(tmp_path, files).plan()
    assert plan.columns == columns
    assert ("PATH:LINE" in plan.note) == (columns == ("custom_id",))


def test_rows_without_ids_need_no_note(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {"a.jsonl": lines("x", "y"), "b.csv": "prompt\nx\n"}
    assert reader(tmp_path, files).plan() == FolderIds(columns=("custom_id",))
    assert not refused(reader(tmp_path, files))


@pytest.mark.parametrize(
    ("files", "where"),
    [
        ({"a.jsonl": named("x", "y"), "b.jsonl": named("z", "y")}, "b.jsonl:2 has the id 'y'"),
        ({"a.jsonl": named("x", "x")}, "a.jsonl:2 has the id 'x', which a.jsonl:1"),
        ({"a.csv": "custom_id,prompt\nx,1\n", "b.jsonl": named("x")}, "which a.csv:2 has"),
        ({"a.jsonl": named(7), "b.csv": "custom_id,prompt\n7,1\n"}, "b.csv:2 has the id '7'"),
        ({"a.jsonl": lines("?"), "b.jsonl": named("a.jsonl:1")}, "a.jsonl:1 has the id 'a.jsonl:1"),
        (
            {"a.jsonl": lines({"recordId": "r", "modelInput": {}}), "b.jsonl": named("r")},
            "which a.jsonl:1 has",
        ),
        ({"a.jsonl": '{"custom\\u005fid": "x", "prompt": "?"}\n' + named("x")}, "a.jsonl:2"),
    ],
)
def test_an_id_that_is_there_twice_is_refused_with_both_places(
    tmp_path: Path, files: dict[str, str | bytes], where: str
) -> None:
    said = refused(reader(tmp_path, files))
    assert where in said
    assert "--id-column none" in said


def test_an_id_that_looks_like_a_line_with_an_id_of_its_own_is_no_second_one(
    tmp_path: Path,
) -> None:
    files: dict[str, str | bytes] = {
        "a.jsonl": named("a.jsonl:1", "b.jsonl:1"),
        "b.jsonl": named("a.jsonl:2", "c.jsonl:9"),
    }
    assert not refused(reader(tmp_path, files))


def test_packed_files_and_other_encodings_are_read_as_they_are_sent(tmp_path: Path) -> None:
    import gzip  # noqa: PLC0415  # here only

    packed: dict[str, str | bytes] = {
        "a.jsonl.gz": gzip.compress(named("x").encode()),
        "b.jsonl": named("x"),
    }
    assert "b.jsonl:1" in refused(reader(tmp_path, packed))
    wide: dict[str, str | bytes] = {"c.jsonl": named("x", "x").encode("utf-16")}
    assert "c.jsonl:2" in refused(reader(tmp_path, wide, encoding="utf-16"))


def test_many_ids_are_compared_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_IN_MEMORY", 100)
    monkeypatch.setattr(module, "_AT_ONCE", 30)
    rows = "".join(f"{number},q\n" for number in range(500))
    files: dict[str, str | bytes] = {"a.csv": "id,prompt\n" + rows, "b.csv": "id,prompt\n7,x\n"}
    found = reader(tmp_path, files, id_column="id")
    assert "b.csv:2 has the id '7', which a.csv:9 has" in refused(found)
    assert not refused(reader(tmp_path, {"a.csv": "id,prompt\n" + rows}, id_column="id"))


def test_ids_whose_digests_are_equal_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "hash", len, raising=False)
    assert not refused(reader(tmp_path, {"a.jsonl": named("x", "y"), "b.jsonl": named("z")}))
    said = refused(reader(tmp_path, {"a.jsonl": named("x", "y"), "b.jsonl": named("y")}))
    assert "b.jsonl:1 has the id 'y', which a.jsonl:2 has" in said


def test_what_is_left_out_within_a_shard_is_no_second_use(tmp_path: Path) -> None:
    def are_apart(one: Place, other: Place) -> bool:
        return one.source != other.source

    twice = named("x", "x")
    assert not refused(reader(tmp_path, {"a.jsonl": twice}), are_apart)
    files: dict[str, str | bytes] = {"a.jsonl": twice, "b.jsonl": named("x")}
    assert "b.jsonl:1" in refused(reader(tmp_path, files), are_apart)


def test_without_an_id_column_nothing_is_looked_at(tmp_path: Path) -> None:
    found = reader(tmp_path, {"a.jsonl": named("x", "x")}, id_column="none")
    assert found.plan() == FolderIds(columns=())
    assert not refused(found)
