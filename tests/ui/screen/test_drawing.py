"""The thread that draws: nothing waits for it, and its bugs stop no run."""

from __future__ import annotations

import signal
import threading
from dataclasses import dataclass, field, replace

import pytest

from claude_batch.core.model.snapshot import Phase, Snapshot
from claude_batch.ui.output_stream import OutputStream
from claude_batch.ui.screen.drawing import DrawnScreen, when_suspended
from claude_batch.ui.screen.plain import PlainRenderer, SilentRenderer
from claude_batch.ui.screen.screen import Checking, Message, Renderer, RunSummary
from tests.support.program import ENOUGH_S
from tests.ui import pictures
from tests.ui.terminal import FakePipe

DONE = RunSummary(message="finished", resume_command=None, exit_code=0)
ENDING = RunSummary(
    message="interrupted", resume_command="claude-batch resume r.jsonl", exit_code=130
)


@dataclass(slots=True)
class StuckStream:
    """A terminal that takes nothing until it is let go."""

    encoding: str = "utf-8"
    reached: threading.Event = field(default_factory=threading.Event)
    let_go: threading.Event = field(default_factory=threading.Event)

    def size(self) -> None:
        return None

    def write(self, text: str) -> None:
        del text
        self.reached.set()
        self.let_go.wait()


@dataclass(slots=True)
class GoneStream:
    """A terminal that was closed."""

    encoding: str = "utf-8"

    def size(self) -> None:
        return None

    def write(self, text: str) -> None:
        raise BrokenPipeError(text)


@dataclass(slots=True)
class Recorder:
    """A renderer that keeps what it is given."""

    seen: list[object] = field(default_factory=list)

    def check(self, checking: Checking | None) -> None:
        self.seen.append(checking)

    def say(self, message: Message) -> None:
        self.seen.append(message.message)

    def show(self, snapshot: Snapshot) -> None:
        self.seen.append(snapshot)

    def end(self, snapshot: Snapshot | None, summary: RunSummary | None) -> None:
        self.seen.append((snapshot, summary))


@dataclass(slots=True)
class BrokenRenderer:
    """An renderer with a bug."""

    def check(self, checking: Checking | None) -> None:
        raise ZeroDivisionError(checking)

    def say(self, message: Message) -> None:
        raise ZeroDivisionError(message)

    def show(self, snapshot: Snapshot) -> None:
        raise ZeroDivisionError(snapshot.run_id)

    def end(self, snapshot: Snapshot | None, summary: RunSummary | None) -> None:
        raise ZeroDivisionError(snapshot, summary)


def screen(
    renderer: Renderer | None, stream: OutputStream | None = None, *, quiet: bool = False
) -> DrawnScreen:
    return DrawnScreen(renderer=renderer, stream=stream or FakePipe(), quiet=quiet)


def test_a_stopped_terminal_holds_up_nobody() -> None:
    stream = StuckStream()
    stuck = DrawnScreen(renderer=SilentRenderer(stream=stream, quiet=False), stream=stream)
    stuck.notice("the first line, on which the thread gets stuck")
    assert stream.reached.wait(ENOUGH_S)
    for _ in range(1_000):  # whoever waited for the terminal would wait for ever
        stuck.publish(pictures.CALM)
        stuck.notice("more")
        stuck.checking("p", 1, 2)
    stream.let_go.set()
    stuck.close(None, ENDING)


def test_the_end_waits_for_a_stopped_terminal_only_so_long() -> None:
    stream = StuckStream()
    renderer = SilentRenderer(stream=stream, quiet=False)
    stuck = DrawnScreen(renderer=renderer, stream=stream, close_wait_s=0.2)
    stuck.close(pictures.CALM, ENDING)
    assert stream.reached.is_set()
    stream.let_go.set()


def test_a_terminal_that_is_gone_ends_the_drawing_quietly() -> None:
    gone = screen(SilentRenderer(stream=GoneStream(), quiet=False), GoneStream())
    gone.notice("nobody reads this")
    gone.publish(pictures.CALM)
    gone.close(pictures.CALM, ENDING)


def test_a_bug_in_a_picture_is_told_and_the_end_still_said() -> None:
    stream = FakePipe()
    broken = screen(BrokenRenderer(), stream)
    broken.publish(pictures.CALM)
    broken.close(pictures.CALM, ENDING)
    assert "a bug in the display: ZeroDivisionError('3f9a')" in stream.text
    assert stream.text.endswith("note: interrupted\n  next: claude-batch resume r.jsonl\n")


def test_what_was_said_before_the_end_is_said_before_the_end() -> None:
    recorder = Recorder()
    screened = screen(recorder)
    for number in range(100):
        screened.notice(str(number))
    screened.close(None, ENDING)
    assert recorder.seen == [*(str(number) for number in range(100)), (None, ENDING)]


def test_the_last_picture_is_drawn_once() -> None:
    recorder = Recorder()
    recorded = screen(recorder)
    recorded.close(pictures.FINISHED, DONE)
    assert recorder.seen == [(pictures.FINISHED, DONE)]


def test_the_last_picture_has_the_phase_in_which_the_run_ended() -> None:
    recorder = Recorder()
    recorded = screen(recorder)
    recorded.close(pictures.CALM, ENDING)
    last = replace(pictures.CALM, phase=Phase.INTERRUPTED, wait=None)
    assert recorder.seen == [(last, ENDING)]


def test_closing_twice_says_goodbye_once() -> None:
    recorder = Recorder()
    recorded = screen(recorder)
    recorded.close(None, ENDING)
    recorded.close(None, None)
    assert recorder.seen == [(None, ENDING)]


def test_a_screen_with_nothing_to_show_starts_no_thread() -> None:
    before = threading.active_count()
    idle = screen(Recorder())
    idle.close(None, None)
    assert threading.active_count() == before


def test_quiet_swallows_notices_but_not_problems() -> None:
    recorder = Recorder()
    silent = screen(recorder, quiet=True)
    silent.notice("by the way")
    silent.problem("prompts.jsonl:3: not JSON")
    silent.close(None, None)
    assert recorder.seen == ["prompts.jsonl:3: not JSON", (None, None)]


@pytest.mark.parametrize(("elapsed_s", "shown"), [(0.9, False), (1.1, True)])
def test_a_check_is_shown_once_it_has_taken_a_second(elapsed_s: float, *, shown: bool) -> None:
    times = [0.0, elapsed_s]
    recorder = Recorder()
    checked = DrawnScreen(renderer=None, stream=None, clock=lambda: times.pop(0))
    checked.checking("p.jsonl", 1, 2)
    checked.draw_once(recorder)
    assert bool(recorder.seen) is shown


def test_a_check_that_was_shown_is_taken_away() -> None:
    times = [0.0, 2.0]
    recorder = Recorder()
    checked = DrawnScreen(renderer=None, stream=None, clock=lambda: times.pop(0))
    checked.checking("p.jsonl", 1, 2)
    checked.draw_once(recorder)
    checked.checked()
    checked.draw_once(recorder)
    assert recorder.seen[-1] is None


def test_who_leaves_takes_the_picture_away_and_draws_no_other() -> None:
    recorder = Recorder()
    left = DrawnScreen(renderer=None, stream=None)
    left.publish(pictures.CALM)
    left.leave()
    left.draw_once(recorder)
    assert recorder.seen == [None]


def test_who_comes_back_draws_again() -> None:
    recorder = Recorder()
    back = DrawnScreen(renderer=None, stream=None)
    back.publish(pictures.CALM)
    back.leave()
    back.come_back()
    back.draw_once(recorder)
    assert recorder.seen == [pictures.CALM]


def test_while_a_pass_is_shown_the_dashboard_is_not() -> None:
    times = [0.0, 2.0]
    recorder = Recorder()
    passing = DrawnScreen(renderer=None, stream=None, clock=lambda: times.pop(0))
    passing.publish(pictures.CALM)
    passing.checking("p.jsonl", 1, 2, "looking for shared prefixes in")
    passing.draw_once(recorder)
    assert pictures.CALM not in recorder.seen


def test_without_a_stderr_nothing_is_shown() -> None:
    nowhere = DrawnScreen(renderer=None, stream=None)
    nowhere.publish(pictures.CALM)
    nowhere.close(pictures.CALM, ENDING)
    assert nowhere._thread is None


def test_a_plain_screen_in_its_thread_ends_with_the_summary() -> None:
    stream = FakePipe()
    plain = screen(PlainRenderer(stream=stream), stream)
    plain.publish(pictures.CALM)
    plain.close(pictures.FINISHED, ENDING)
    assert stream.text.endswith("interrupted\ncontinue  claude-batch resume r.jsonl\n")


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what happens in turn; the stop itself is only noted."""
    steps: list[str] = []
    monkeypatch.setattr("signal.raise_signal", lambda _: steps.append("stopped"))
    return steps


def press_ctrl_z() -> None:
    handler = signal.getsignal(signal.SIGTSTP)
    assert callable(handler)
    handler(signal.SIGTSTP, None)


def test_the_picture_is_gone_before_the_process_stops_and_back_after_it(steps: list[str]) -> None:
    undo = when_suspended(lambda: steps.append("left"), lambda: steps.append("back"))
    press_ctrl_z()
    undo()
    assert steps == ["left", "stopped", "back"]


def test_it_works_as_often_as_one_likes(steps: list[str]) -> None:
    undo = when_suspended(lambda: steps.append("left"), lambda: None)
    press_ctrl_z()
    press_ctrl_z()
    undo()
    assert steps.count("left") == 2


def test_in_the_end_ctrl_z_is_what_it_was() -> None:
    when_suspended(lambda: None, lambda: None)()
    assert signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL


def test_outside_the_main_thread_nothing_is_done() -> None:
    thread = threading.Thread(target=when_suspended, args=(lambda: None, lambda: None))
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL
