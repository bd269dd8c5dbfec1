"""Tables read back by software that is not ours: pandas, and LibreOffice for CSV and workbooks."""

from __future__ import annotations

import csv
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.program import Program

pytestmark = [pytest.mark.whole, pytest.mark.services]

COLUMNS = ["model", "Customer Name", "ticket-id", "answer", "text"]
ROWS = [
    ["iPhone 14", "Ann", "T-1", "gold", "plain"],
    ["", 'O\'Neill, "Bob"', "007", "", 'quotes "here", commas,\nand a line'],
    ["claude", "Zoë 😀", "1e5", "-", "=SUM(A1)"],
    ["x", "日本語", "+49 30", "@a", "y" * 30_000],
]
RUN = (
    "run", "in.csv", "--sandbox", "--prompt", "Classify: {{text}}", "--answer-column", "reply",
    "--no-stdout", "-o",
)  # fmt: skip


@pytest.fixture
def program(tmp_path: Path) -> Program:
    with (tmp_path / "in.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *ROWS])
    return Program(folder=tmp_path)


def check(found: list[list[Any]], header: list[str]) -> None:
    """Compare what another program reads with what the input had."""
    assert header[:5] == COLUMNS
    assert header[5:7] == ["reply", "reply_status"]
    assert [[str(cell) for cell in row[:5]] for row in found] == ROWS
    assert all(row[5].startswith("[sandbox") and row[6] == "succeeded" for row in found)


@pytest.mark.parametrize("name", ["out.csv", "out.tsv", "out.parquet", "out.xlsx"])
def test_pandas_reads_every_cell_as_it_was(program: Program, name: str) -> None:
    pandas = pytest.importorskip("pandas")
    if name.endswith("xlsx"):
        pytest.importorskip("xlsxwriter")
    done = program.run(*RUN, name)
    assert done.returncode == 0, done.stderr.decode()
    path = program.folder / name
    if name.endswith("parquet"):
        frame = pandas.read_parquet(path)
    elif name.endswith("xlsx"):
        frame = pandas.read_excel(path, dtype=str, keep_default_na=False, engine="calamine")
    else:
        separator = "\t" if name.endswith("tsv") else ","
        frame = pandas.read_csv(path, dtype=str, keep_default_na=False, sep=separator)
    check(frame.to_numpy().tolist(), list(frame.columns))


@pytest.mark.parametrize("name", ["out.csv", "out.xlsx"])
def test_libreoffice_reads_every_cell_as_it_was(program: Program, name: str) -> None:
    if name.endswith("xlsx"):
        pytest.importorskip("xlsxwriter")
    office = shutil.which("soffice") or shutil.which("localc")
    if office is None:
        pytest.skip("LibreOffice is not installed")
    assert program.run(*RUN, name).returncode == 0
    text = "44,34,76,1,,0,false,true,false"  # comma, quote, UTF-8, from the first line, all as text
    columns = "/".join(f"{number}/2" for number in range(1, 20))
    reading = [f"--infilter=CSV:44,34,76,1,{columns}"] if name.endswith("csv") else []
    subprocess.run(
        [office, "--headless", *reading, "--convert-to", f"csv:Text - txt - csv (StarCalc):{text}",
         "--outdir", "back", name],
        cwd=program.folder, check=True, capture_output=True, timeout=200,
        env={"HOME": str(program.folder), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    with (program.folder / "back" / "out.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    check(rows, header)
