"""Which form the screen takes, and what it is drawn on."""

from __future__ import annotations

import io
import os
import sys
import threading

import pytest

from claude_batch.ui.output_stream import DescriptorStream, FileStream, output_stream
from claude_batch.ui.screen.opening import chosen_form, open_screen
from claude_batch.ui.screen.screen import RunSummary
from tests.ui import pictures


class Tty(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("mode", "quiet", "form"),
    [
        ("auto", False, "live"),
        ("auto", True, "none"),
        ("live", True, "live"),
        ("plain", False, "plain"),
        ("json", True, "json"),
        ("none", False, "none"),
    ],
)
def test_a_terminal_is_drawn_on(
    mode: str, form: str, monkeypatch: pytest.MonkeyPatch, *, quiet: bool
) -> None:
    monkeypatch.setattr(sys, "stderr", Tty())
    assert chosen_form(mode, quiet=quiet) == form


@pytest.mark.parametrize("mode", ["auto", "live"])
def test_a_pipe_gets_lines(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert chosen_form(mode, quiet=False) == "plain"


@pytest.mark.parametrize("mode", ["auto", "live"])
def test_a_dumb_terminal_gets_lines(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Tty())
    monkeypatch.setenv("TERM", "dumb")
    assert chosen_form(mode, quiet=False) == "plain"


def test_a_closed_stderr_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert output_stream(sys.stderr) is None
    open_screen("auto", quiet=False).close(None, None)


def test_a_stream_without_a_descriptor_is_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    assert isinstance(output_stream(sys.stderr), FileStream)
    screen = open_screen("none", quiet=False)
    screen.close(None, RunSummary(message="done", resume_command=None, exit_code=0))
    assert stream.getvalue() == "note: done\n"


def test_every_form_draws_a_whole_run(capfd: pytest.CaptureFixture[str]) -> None:
    ending = RunSummary(message="all is done", resume_command=None, exit_code=0)
    for mode in ("auto", "live", "plain", "json", "none"):
        screen = open_screen(mode, quiet=False)
        screen.publish(pictures.CALM)
        screen.close(pictures.FINISHED, ending)
        captured = capfd.readouterr()
        assert "all is done" in captured.err
        assert captured.out == ""


def test_a_pipe_that_is_full_and_does_not_block_gets_everything() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    text = "x" * 1_000_000
    received: list[bytes] = []

    def read() -> None:
        while part := os.read(reader, 65_536):
            received.append(part)

    thread = threading.Thread(target=read)
    thread.start()
    DescriptorStream(writer, "utf-8").write(text)
    os.close(writer)
    thread.join()
    os.close(reader)
    assert b"".join(received) == text.encode()


def test_what_an_encoding_lacks_is_an_escape() -> None:
    reader, writer = os.pipe()
    DescriptorStream(writer, "ascii").write("━ done")
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        assert file.read() == b"\\u2501 done"
