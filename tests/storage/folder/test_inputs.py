"""Files, globs and folders are found in a stable order; what is no input is left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from claude_batch.errors import UsageError
from claude_batch.storage.folder.inputs import find_inputs


def a_tree(root: Path) -> Path:
    for name in (
        "in/b.jsonl",
        "in/a.csv.gz",
        "in/sub/c.parquet",
        "in/readme.md",
        "in/.hidden.jsonl",
        "in/b.results.jsonl",
        "in/run/manifest.json",
        "in/run/x.jsonl",
    ):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'{"format":1}' if "run/" in name else b"x")
    (root / "in/sub/manifest.json").write_bytes(b'{"of":"another program"}')
    return root / "in"


def found(root: Path, *names: str) -> list[str]:
    return [each.source.removeprefix(f"{root}/") for each in find_inputs(names, str(root / "out"))]


def test_a_folder_stands_for_the_inputs_below_it(tmp_path: Path) -> None:
    folder = a_tree(tmp_path)
    assert found(tmp_path, str(folder)) == [
        "in/a.csv.gz",
        "in/b.jsonl",
        "in/sub/c.parquet",
        "in/sub/manifest.json",
    ]


def test_a_glob_stands_for_what_it_matches(tmp_path: Path) -> None:
    folder = a_tree(tmp_path)
    assert found(tmp_path, str(folder / "**" / "*.parquet")) == ["in/sub/c.parquet"]


def test_each_file_is_there_once(tmp_path: Path) -> None:
    folder = a_tree(tmp_path)
    names = found(tmp_path, str(folder / "b.jsonl"), str(folder))
    assert names == [
        "in/b.jsonl",
        "in/a.csv.gz",
        "in/sub/c.parquet",
        "in/sub/manifest.json",
    ]


def test_where_results_go_is_no_input(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for name in ("a.jsonl", "out/b.jsonl"):
        (tmp_path / name).write_bytes(b"x")
    assert found(tmp_path, str(tmp_path)) == ["a.jsonl"]


@pytest.mark.parametrize("name", ["-", "https://host/a.jsonl", "nothing/*.jsonl", "gone.jsonl"])
def test_what_cannot_be_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError):
        found(tmp_path, name)


def test_a_file_that_is_named_itself_is_known_as_such(tmp_path: Path) -> None:
    folder = str(a_tree(tmp_path))
    inputs = find_inputs([folder, f"{folder}/b.jsonl"])
    assert [each.name for each in inputs if each.is_named] == ["b.jsonl"]
    assert len(inputs) == len(find_inputs([folder]))
