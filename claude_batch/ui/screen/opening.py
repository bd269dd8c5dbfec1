"""The choice between the forms of the screen. Each form loads only what it draws with."""

from __future__ import annotations

import os
import sys

from claude_batch.ui.output_stream import OutputStream, output_stream
from claude_batch.ui.screen.drawing import DrawnScreen
from claude_batch.ui.screen.json_lines import JsonRenderer
from claude_batch.ui.screen.plain import PlainRenderer, SilentRenderer
from claude_batch.ui.screen.screen import Renderer, Screen


def open_screen(mode: str, *, quiet: bool, to_stdout: bool = False) -> Screen:
    """Return a screen of `mode` on this process's stderr: auto, live, plain, json or none.

    auto is live on a terminal that can move its cursor, else plain; none when quiet. Without a
    stderr nothing is shown: its descriptor may by now be another file's. `to_stdout`: for a
    command whose output is the screen.
    """
    form = chosen_form(mode, quiet=quiet, to_stdout=to_stdout)
    stream = output_stream(sys.stdout if to_stdout else sys.stderr)
    renderer = None if stream is None else _renderer(form, stream, quiet=quiet)
    screen = DrawnScreen(renderer=renderer, stream=stream, quiet=quiet)
    if renderer is not None and form == "live":
        screen.leave_on_suspend()
    return screen


def chosen_form(mode: str, *, quiet: bool, to_stdout: bool = False) -> str:
    """Return live, plain, json or none: the form that `mode` means on this stderr, or stdout."""
    if mode == "auto" and quiet:
        return "none"
    if mode in {"json", "none", "plain"}:
        return mode
    file = sys.stdout if to_stdout else sys.stderr
    able = file is not None and file.isatty()
    able = able and os.environ.get("TERM", "dumb") not in {"dumb", "unknown"}
    return "live" if able else "plain"


def _renderer(form: str, stream: OutputStream, *, quiet: bool) -> Renderer:
    match form:
        case "live":
            from claude_batch.ui.screen.live import LiveRenderer  # noqa: PLC0415  # it loads Rich

            return LiveRenderer(stream=stream, quiet=quiet)
        case "json":
            return JsonRenderer(stream=stream)
        case "plain":
            return PlainRenderer(stream=stream, quiet=quiet)
        case _:
            return SilentRenderer(stream=stream, quiet=quiet)
