"""A manifest is read back as it was written, and a folder is continued only as what it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from claude_batch.config.options import Options
from claude_batch.config.settings import RunSettings
from claude_batch.errors import CheckpointError, CheckpointMismatchError
from claude_batch.storage.folder.files import LocalFiles
from claude_batch.storage.folder.manifest import (
    Manifest,
    Shard,
    create_manifest,
    read_manifest,
    refuse_other,
)
from claude_batch.storage.run.paths import MANIFEST, has_manifest, run_folder_of
from claude_batch.storage.tables.kinds import Part

SHARDS = (
    Shard(
        shard=1,
        source="/in/a.jsonl",
        name="a.jsonl",
        start=0,
        end=200,
        first_line=1,
        lines=50_000,
        size=200,
        sha256="ab",
    ),
    Shard(
        shard=2,
        source="/in/b.parquet",
        name="b.parquet",
        start=0,
        end=None,
        first_line=1,
        lines=None,
        size=99,
        sha256="cd",
    ),
)


def a_manifest(**changes: Any) -> Manifest:
    manifest = Manifest(
        run_id="abc",
        version="1",
        created_at=1.5,
        inputs=("/in",),
        shard_size=50_000,
        options=Options(prompt="Classify: {{text}}", drop=("temperature",)),
        settings=RunSettings(flags={"rpm": 60.0, "cache": None}, endpoints=("default",)),
        routes=None,
        mode="batch",
        deadline="2h",
        shards=SHARDS,
    )
    return replace(manifest, **changes)


def test_a_manifest_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    assert create_manifest(files, a_manifest())
    assert read_manifest(files, str(tmp_path)) == a_manifest()


def test_each_shard_has_a_line_of_its_own(tmp_path: Path) -> None:
    create_manifest(LocalFiles(tmp_path), a_manifest())
    assert (tmp_path / MANIFEST).read_bytes().count(b"\n") == len(SHARDS) + 2


def test_a_manifest_never_changes(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    create_manifest(files, a_manifest())
    assert not create_manifest(files, a_manifest(run_id="other"))
    assert read_manifest(files, str(tmp_path)) == a_manifest()


def test_a_part_of_a_file_is_a_range_and_a_whole_file_is_none() -> None:
    assert [shard.part for shard in SHARDS] == [Part(start=0, end=200, first_line=1), None]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"format":1}', b'{"format":2}', b'{"format":"1"}']
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_manifest(LocalFiles(tmp_path), str(tmp_path))


def test_the_same_run_is_continued() -> None:
    refuse_other("/out", a_manifest(), a_manifest(run_id="new", created_at=9.0, shards=()))


@pytest.mark.parametrize(
    "changes",
    [
        {"options": Options(prompt="Translate: {{text}}", drop=("temperature",))},
        {"inputs": ("/elsewhere",)},
        {"shard_size": 10},
    ],
)
def test_another_run_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(CheckpointMismatchError, match=r"was started with .*, (but|not)"):
        refuse_other("/out", a_manifest(), a_manifest(**changes))


def test_a_results_file_of_a_shard_is_known_as_such(tmp_path: Path) -> None:
    create_manifest(LocalFiles(tmp_path), a_manifest())
    assert run_folder_of(tmp_path / "shards" / "0001" / "1.results.jsonl") == tmp_path
    assert run_folder_of(tmp_path / "1.results.jsonl") is None


def test_other_programs_have_manifests_too(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_bytes(b'{"name": "a web site"}')
    assert not has_manifest(tmp_path)
