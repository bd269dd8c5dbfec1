"""The pictures in the documents: the dashboard of a real run against the sandbox, and its report.

make picture                          the report where Chromium is installed
"""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from rich.console import Console

from claude_batch.commands.run.run import carry_out, run_request
from claude_batch.commands.runs.report import write_report
from claude_batch.core.model.snapshot import Snapshot
from claude_batch.ui.dashboard.dashboard import dashboard
from claude_batch.ui.screen.screen import RunSummary

HERE = Path(__file__).parent
WIDTH = 100
MOMENT = 0.6
"""The share of the run that is done when the picture is taken."""

SCENARIO = """
[limits]
rpm = 1_500
itpm = 90_000
otpm = 60_000
[output]
mean_tokens = 50
[latency]
base_s = 0.6
[faults]
overloaded = 0.01
server_error = 0.01
"""
TASKS = ("Translate into French", "Name the topic", "Correct the spelling", "Sum up")
MODELS = ("claude-haiku-5-5", "claude-haiku-5-5", "claude-sonnet-5")
PROMPTS = 2_000
REPORT = (1_180, 1_320)
"""Pixels of the picture of the report."""


class Camera:
    """A screen that keeps the picture of one moment."""

    def __init__(self) -> None:
        self.taken: Snapshot | None = None

    def publish(self, snapshot: Snapshot) -> None:
        """Take the first picture that shows enough of the run."""
        enough = snapshot.done >= MOMENT * PROMPTS
        if self.taken is None and enough and snapshot.failures:
            self.taken = snapshot

    def checking(
        self, path: str, done_bytes: int, total_bytes: int | None, doing: str = "checking"
    ) -> None:
        """Show nothing."""

    def checked(self) -> None:
        """Show nothing."""

    def notice(self, message: str, hint: str = "") -> None:
        """Show nothing."""

    def problem(self, text: str) -> None:
        """Show nothing."""

    def close(self, snapshot: Snapshot | None, ending: RunSummary | None) -> None:
        """Show nothing."""


def take_report(results: Path) -> None:
    """Take a picture of the beginning of the report of a run."""
    page = results.with_name("reviews.html")
    write_report(results, page)
    chromium = shutil.which("chromium")
    if chromium is not None:
        options = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")
        size, to = f"--window-size={REPORT[0]},{REPORT[1]}", f"--screenshot={HERE / 'report.png'}"
        command = [chromium, *options, size, to, page.as_uri()]
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603  # found on the PATH


def main() -> None:
    """Run, take the picture, and write it."""
    camera = Camera()
    with tempfile.TemporaryDirectory() as folder:
        prompts, scenario = Path(folder, "reviews.jsonl"), Path(folder, "scenario.toml")
        scenario.write_text(SCENARIO)
        with prompts.open("w") as file:
            for number in range(PROMPTS):
                prompt = f"{TASKS[number % len(TASKS)]}: review number {number}, a short text."
                line = {"prompt": prompt, "model": MODELS[number % len(MODELS)]}
                file.write(json.dumps({"custom_id": f"review-{number}", **line}) + "\n")
        given = {"sandbox": True, "scenario": scenario, "stdout": False, "yes": True}
        carry_out(camera, run_request(str(prompts), given))
        take_report(Path(folder, "reviews.sandbox.results.jsonl"))
    if camera.taken is None:
        raise SystemExit("the run was over before the picture was taken")
    console = Console(
        width=WIDTH,
        record=True,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
    )
    console.print(dashboard(camera.taken))
    svg = console.export_svg(title="claude-batch run reviews.jsonl")
    # a picture that loads nothing from elsewhere: the reader's own monospace font will do
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    (HERE / "dashboard.svg").write_text(svg)


if __name__ == "__main__":
    main()
