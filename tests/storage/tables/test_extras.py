"""Parquet, workbooks and zstd: what their libraries write is read back."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from claude_batch.errors import UsageError
from claude_batch.storage.tables.kinds import InputOptions
from claude_batch.storage.tables.reading import kind_of, open_records

NOTHING_SAID = InputOptions()


def read(path: Path, how: InputOptions = NOTHING_SAID) -> list[tuple[int, Any]]:
    kind = kind_of(path, path.name, how)
    with open_records(path, path.name, kind, how) as found:
        return list(found.records)


@pytest.mark.services
def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [{"a": n, "b": None, "c": [1.5], "d": {"e": "f"}} for n in range(2_500)]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "t.parquet")
    records = read(tmp_path / "t.parquet")
    assert records[0] == (2, rows[0])
    assert records[-1] == (2_501, rows[-1])


@pytest.mark.services
def test_a_workbook_is_numbered_as_it_numbers_its_rows(tmp_path: Path) -> None:
    xlsxwriter = pytest.importorskip("xlsxwriter")
    pytest.importorskip("python_calamine")
    with xlsxwriter.Workbook(tmp_path / "t.xlsx") as book:
        book.add_worksheet("empty")
        sheet = book.add_worksheet("data")
        for row, cells in {1: ("id", "when", "x"), 2: (7, None, 1.5), 4: (8, None, "=A")}.items():
            for column, cell in enumerate(cells):
                if cell is not None:
                    sheet.write(row, column, cell) if cell != "=A" else sheet.write_string(
                        row, column, cell
                    )
        day = book.add_format({"num_format": "yyyy-mm-dd"})
        sheet.write_datetime(2, 1, dt.datetime(2026, 1, 2), day)  # noqa: DTZ001
    records = read(tmp_path / "t.xlsx", InputOptions(sheet="data"))
    assert [line for line, _ in records] == [3, 5]
    assert (records[0][1]["id"], records[0][1]["x"]) == (7, 1.5)
    assert records[1][1] == {"id": 8, "when": "", "x": "=A"}
    with pytest.raises(UsageError, match="the sheet 'empty' is empty") as caught:
        read(tmp_path / "t.xlsx")
    assert caught.value.hint == "name another one with --sheet: data"
    with pytest.raises(UsageError, match="has no sheet 'dta'") as caught:
        read(tmp_path / "t.xlsx", InputOptions(sheet="dta"))
    assert caught.value.hint == "did you mean 'data'?"


@pytest.mark.services
def test_cells_beyond_the_header_of_a_workbook_are_kept(tmp_path: Path) -> None:
    xlsxwriter = pytest.importorskip("xlsxwriter")
    pytest.importorskip("python_calamine")
    with xlsxwriter.Workbook(tmp_path / "t.xlsx") as book:
        sheet = book.add_worksheet("data")
        sheet.write(0, 0, "All tickets")
        sheet.write_row(1, 0, ["id", "text"])
        sheet.write_row(2, 0, [7, "Hello"])
    assert read(tmp_path / "t.xlsx") == [
        (2, {"All tickets": "id", "column_2": "text"}),
        (3, {"All tickets": 7, "column_2": "Hello"}),
    ]


@pytest.mark.services
def test_zstd_is_unpacked_and_what_is_cut_off_is_said(tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    packed = zstandard.compress(b"a,b\n" + b"1,2\n" * 5_000)
    (tmp_path / "t.csv.zst").write_bytes(packed)
    assert len(read(tmp_path / "t.csv.zst")) == 5_000


@pytest.mark.parametrize(("name", "extra"), [("t.parquet", "parquet"), ("t.csv.zst", "zstd")])
def test_a_library_that_is_missing_is_one_line_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, extra: str
) -> None:
    def missing(_: str) -> None:
        raise ImportError

    monkeypatch.setattr("importlib.import_module", missing)
    start = b"PAR1" if extra == "parquet" else b"\x28\xb5\x2f\xfd"
    (tmp_path / name).write_bytes(start + b"\0" * 20)
    with pytest.raises(UsageError) as caught:
        read(tmp_path / name)
    assert caught.value.hint == f"pip install 'claude-batch[{extra}]'"
