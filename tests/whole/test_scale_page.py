"""What docs/scale.md shows is run as it stands there: the scripts with a program that just ends."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import textwrap
from pathlib import Path

import pytest

from tests.support.program import Program, served, takes_signals, wait_for

pytestmark = pytest.mark.whole

PAGE = Path(__file__).parents[2] / "docs" / "scale.md"
CALLS = "calls.txt"
STUB = f"""#!/bin/sh
echo "$(basename "$0") $*" >> "$HOME/{CALLS}"
"""
WORKING = """sleep "$SECONDS_TAKEN" &
trap 'kill $!; exit "$ON_TERM"' TERM
"""
CLAUDE_BATCH = STUB.replace("echo", f"{WORKING}echo") + 'wait $!\nexit "$CODE"\n'


def block(kind: str, begins: str) -> str:
    """Return the code on the page that begins so."""
    found: list[str] = re.findall(rf"```{kind}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return next(each for each in found if each.startswith(begins))


def pod_script() -> str:
    """Return what a pod's shell is given."""
    text = block("yaml", "apiVersion").partition("            - |\n")[2]
    return textwrap.dedent(text.partition("          envFrom:")[0])


@pytest.fixture
def stubs(tmp_path: Path) -> Path:
    """Return a folder with programs that note how they are called."""
    scripts = dict.fromkeys(("scancel", "scontrol", "sleep"), STUB)
    scripts |= {"claude-batch": CLAUDE_BATCH, "srun": STUB + 'exec "$@"\n'}
    (tmp_path / "bin").mkdir()
    for name, script in scripts.items():
        path = tmp_path / "bin" / name
        path.write_text(script.replace("sleep", shutil.which("sleep") or "sleep"))
        path.chmod(0o755)
    (tmp_path / ".claude-batch.env").write_text("ANTHROPIC_API_KEY=k\n")
    return tmp_path


def start(script: str, folder: Path, **variables: str) -> subprocess.Popen[bytes]:
    """Start a script among the stubs."""
    given = {"HOME": str(folder), "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    given |= {"CODE": "0", "ON_TERM": "143", "SECONDS_TAKEN": "0"}
    return subprocess.Popen(["sh", "-c", script], cwd=folder, env=given | variables)


def calls(folder: Path) -> list[str]:
    """Return how the stubs were called."""
    path = folder / CALLS
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize(
    ("code", "restarts", "ends", "does"),
    [
        ("0", "0", 0, []),
        ("3", "0", 0, []),
        ("2", "0", 2, ["scancel --state=PENDING 77"]),
        ("4", "0", 4, ["scancel --state=PENDING 77"]),
        ("6", "0", 6, ["scancel --state=PENDING 77"]),
        ("5", "0", 5, ["sleep 30", "scontrol requeue 77_17"]),
        ("137", "2", 137, ["sleep 30", "scontrol requeue 77_17"]),
        ("5", "3", 5, []),
    ],
)
def test_the_slurm_script_does_what_the_exit_code_asks_for(
    stubs: Path, code: str, restarts: str, ends: int, does: list[str]
) -> None:
    variables = {
        "SLURM_ARRAY_JOB_ID": "77",
        "SLURM_ARRAY_TASK_ID": "17",
        "SLURM_RESTART_COUNT": restarts,
    }
    script = block("bash", "#!/bin/bash")
    assert start(script, stubs, CODE=code, **variables).wait() == ends
    work = ["srun claude-batch run labeled/ --shard 17", "claude-batch run labeled/ --shard 17"]
    assert calls(stubs) == [*work, *does]


@pytest.mark.parametrize(
    ("code", "ends"), [("0", 0), ("3", 0), ("2", 2), ("4", 4), ("5", 5), ("6", 6), ("143", 143)]
)
def test_a_pod_ends_with_the_code_of_its_shard_and_3_is_a_finished_one(
    stubs: Path, code: str, ends: int
) -> None:
    assert start(pod_script(), stubs, CODE=code, JOB_COMPLETION_INDEX="16").wait() == ends
    assert calls(stubs) == ["claude-batch run labeled/ --shard 17"]


@pytest.mark.parametrize(("on_term", "ends"), [("143", 143), ("0", 0)])
def test_a_pod_that_is_stopped_lets_its_shard_end(stubs: Path, on_term: str, ends: int) -> None:
    variables = {"JOB_COMPLETION_INDEX": "0", "SECONDS_TAKEN": "100", "ON_TERM": on_term}
    pod = start(pod_script(), stubs, **variables)
    wait_for(lambda: calls(stubs) and takes_signals(pod.pid))
    pod.send_signal(signal.SIGTERM)
    assert pod.wait() == ends


def test_gnu_parallel_finishes_a_folder_shard_by_shard(tmp_path: Path) -> None:
    which = subprocess.run(
        ["sh", "-c", "parallel --version"], capture_output=True, text=True, check=False
    )
    if not which.stdout.startswith("GNU parallel"):
        pytest.skip("GNU parallel is not installed")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text("".join(f'"question {n}?"\n' for n in range(1, 31)))
    script = block("sh", "mkdir -p logs").replace("seq 12", "seq 3")
    with served(tmp_path) as sandbox:
        program = Program(folder=tmp_path, variables=sandbox.variables)
        make = ("run", "in/*.jsonl", "--out", "labeled/", "--shard-size", "10", "--shard", "1")
        assert program.run(*make).returncode == 0
        done = program.shell(script)
    assert done.returncode == 0, done.stderr.decode()
    printed = program.run("results", "labeled/", "--format", "text").stdout
    assert len(printed.splitlines()) == 30
