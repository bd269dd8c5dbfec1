"""What a message says to do next is done here: it never ends in the same error."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet

from tests.support.killing import QUICK, lines_of, write_prompts
from tests.support.odd_relay import odd_relay
from tests.support.program import Program, Served, served, wait_for

pytestmark = pytest.mark.whole

RUN = "claude-batch run p.jsonl --sandbox --no-stdout"
REAL = "claude-batch run p.jsonl --no-stdout"
RESULTS = "p.sandbox.results.jsonl"
JOURNAL = f"{RESULTS}.journal"
BOUNDED = f"{RUN} --max-tokens 60 --max-cost 0.0004"
MOST_STEPS = 3


def done(program: Program, command: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command line; by a shell only where it takes one, since that is slower."""
    first, *arguments = shlex.split(command)
    if first == "claude-batch" and not set(command) & set("|>&;"):
        return program.run(*arguments)
    return program.shell(command)


def run_to_its_end(program: Program) -> None:
    assert done(program, RUN).returncode == 0


def stopped_at_its_bound(program: Program) -> None:
    at_a_server = "ANTHROPIC_BASE_URL" in program.variables
    command = BOUNDED.replace(" --sandbox", "") if at_a_server else BOUNDED
    assert done(program, command).returncode == 6


def with_bad_journal(old: str, new: str) -> Callable[[Program], None]:
    """Return what ends a run and then changes its journal."""

    def arrange(program: Program) -> None:
        run_to_its_end(program)
        journal = program.folder / JOURNAL
        journal.write_text(journal.read_text().replace(old, new))

    return arrange


def without(name: str) -> Callable[[Program], None]:
    """Return what ends a run and then removes a file."""

    def arrange(program: Program) -> None:
        run_to_its_end(program)
        (program.folder / name).unlink()

    return arrange


def other_prompts(program: Program) -> None:
    run_to_its_end(program)
    (program.folder / "p.jsonl").write_text('"something else"\n')


def results_of_another_run(program: Program) -> None:
    run_to_its_end(program)
    line = {"custom_id": "x", "result": {"type": "succeeded"}, "meta": {"line": 99}}
    with (program.folder / RESULTS).open("a") as file:
        file.write(json.dumps(line) + "\n")


def one_bad_line(program: Program) -> None:
    with (program.folder / "p.jsonl").open("a") as file:
        file.write("{\n")


def bad_line_list_gone(program: Program) -> None:
    one_bad_line(program)
    assert done(program, f"{RUN} --skip-invalid").returncode == 3
    (program.folder / f"{RESULTS}.invalid.jsonl").unlink()


def a_link_for_the_lock(program: Program) -> None:
    (program.folder / f"{RESULTS}.lock").symlink_to("elsewhere")


def settings_gone(program: Program) -> None:
    (program.folder / "my.toml").write_text("[defaults]\nrpm = 900\n")
    assert done(program, f"{BOUNDED} --config my.toml").returncode == 6
    (program.folder / "my.toml").unlink()


def answers_kept(program: Program) -> None:
    assert done(program, f"{RUN} --cache").returncode == 0


def settings_there(program: Program) -> None:
    assert done(program, "claude-batch init").returncode == 0


def nothing(_: Program) -> None:
    """Arrange nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A command that ends with `said` as its next step.

    What is done: `then`, {first} being the command itself and {said} what was found by `said`; by
    default `said`, where that is a command.
    """

    first: str
    said: str
    then: str = "{said}"
    before: Callable[[Program], None] = nothing
    code: int = 2
    ends: tuple[int, ...] = (0,)


COMMAND = r"claude-batch [^;,:\n]*?(?= (?:lists|continues|has)\b|[;,:\n])"
AND_FRESH = "{first} --fresh"

STEPS = {
    "a bound reached": Step(first=BOUNDED, code=6, said=COMMAND),
    "resumed at a bound that was reached": Step(
        before=stopped_at_its_bound, first=f"claude-batch resume {RESULTS}", said=COMMAND, code=6
    ),
    "run again with other options": Step(
        before=stopped_at_its_bound, first=RUN, code=5, said=COMMAND
    ),
    "run again at a bound that was reached": Step(
        before=stopped_at_its_bound, first=f"{RUN} --max-tokens 60", said=COMMAND, code=6
    ),
    "results without a journal": Step(
        before=without(JOURNAL), first=RUN, code=5, said="--fresh", then=AND_FRESH
    ),
    "results gone": Step(
        before=without(RESULTS), first=RUN, code=5, said="--fresh", then=AND_FRESH
    ),
    "a journal without its run": Step(
        before=with_bad_journal('"type":"run"', '"type":"ran"'),
        first=RUN,
        code=5,
        said="--fresh",
        then=AND_FRESH,
    ),
    "a journal with a wrong type": Step(
        before=with_bad_journal('"run_id":"', '"total":"no","was":"'),
        first=RUN,
        code=5,
        said="--fresh",
        then=AND_FRESH,
    ),
    "a journal with a damaged batch": Step(
        before=with_bad_journal('"type":"opened"', '"type":"batch_created"'),
        first=RUN,
        code=5,
        said="--fresh",
        then=AND_FRESH,
    ),
    "other prompts": Step(before=other_prompts, first=RUN, code=5, said="--fresh", then=AND_FRESH),
    "results of another run": Step(
        before=results_of_another_run, first=RUN, code=5, said="--fresh", then=AND_FRESH
    ),
    "the list of bad lines gone": Step(
        before=bad_line_list_gone,
        first=f"{RUN} --skip-invalid",
        code=5,
        said="--fresh",
        then=AND_FRESH,
        ends=(3,),
    ),
    "a bad line": Step(
        before=one_bad_line,
        first=RUN,
        said=r"claude-batch run .* --skip-invalid",
        then="{said}",
        ends=(3,),
    ),
    "no key": Step(first=REAL, said="claude-batch run --sandbox", then="{first} --sandbox"),
    "no folder": Step(
        first=f"{RUN} -o no/r.jsonl", said=r"mkdir -p [^,]*", then="{said} && {first}"
    ),
    "a link for a lock": Step(
        before=a_link_for_the_lock, first=RUN, code=5, said=r"rm .*", then="{said} && {first}"
    ),
    "settings gone": Step(
        before=settings_gone,
        first=f"claude-batch resume {RESULTS} --max-cost 1",
        said="--config none",
        then="{first} {said}",
    ),
    "settings there already": Step(
        before=settings_there, first="claude-batch init", said="--force", then="{first} {said}"
    ),
    "results from stdin without a name": Step(
        first="cat p.jsonl | claude-batch run - --sandbox --no-stdout",
        said="--out results.jsonl",
        then="{first} {said}",
    ),
    "results into the prompts": Step(
        first=f"{RUN} -o p.jsonl", said="--out FILE", then=f"{RUN} --out r.jsonl"
    ),
    "prompts for results": Step(
        before=run_to_its_end,
        first="claude-batch results p.jsonl > /dev/null",
        said="p.sandbox.results.jsonl",
        then="claude-batch results {said} > /dev/null",
    ),
    "no results": Step(first="claude-batch results no.jsonl", said="claude-batch status"),
    "no run": Step(
        before=run_to_its_end,
        first="claude-batch resume",
        said="claude-batch resume RESULTS",
        then=f"claude-batch resume {RESULTS}",
    ),
    "no such command": Step(first="claude-batch xyz", said="claude-batch --help"),
    "no such option": Step(first=f"{RUN} --xyz", said=r"claude-batch run --help"),
    "a command mistyped": Step(
        first="claude-batch modles", said="models", then="claude-batch {said}"
    ),
    "a variable mistyped": Step(
        first=f"CLAUDE_BATCH_MAXCOST=5 {RUN}",
        said="CLAUDE_BATCH_MAX_COST",
        then="{said}=5 " + RUN,
    ),
    "a question without a terminal": Step(
        before=answers_kept, first="claude-batch cache clear", said="--yes", then="{first} {said}"
    ),
}


EVERY_COMMIT = {
    "a bound reached",
    "resumed at a bound that was reached",
    "run again with other options",
    "a journal with a damaged batch",
    "a bad line",
    "no key",
    "settings gone",
    "which batch",
    "detached in live mode",
}


def cases(steps: Mapping[str, Step]) -> list[ParameterSet]:
    """Return the cases; most are for the long form."""
    long = pytest.mark.long
    return [pytest.param(each, marks=() if each in EVERY_COMMIT else long) for each in steps]


@pytest.mark.parametrize("case", cases(STEPS))
def test_a_step_that_is_named_is_done(tmp_path: Path, case: str) -> None:
    step = STEPS[case]
    write_prompts(tmp_path / "p.jsonl", 30)
    program = Program(folder=tmp_path)
    step.before(program)
    refused = done(program, step.first)
    assert refused.returncode == step.code, refused.stderr.decode()
    said = next_step(refused.stderr.decode(), step.said)
    follow(
        program, step.then.format(first=step.first, said=said), refused.stderr.decode(), step.ends
    )


def next_step(text: str, pattern: str) -> str:
    """Return what `pattern` finds in the steps that `text` names."""
    steps = re.findall(r"(?:next: |continue  |inspect   )\s*(.*(?:\n {8}.*)*)", text)
    found = [match[0] for step in steps if (match := re.search(pattern, step + "\n"))]
    assert found, text
    return found[-1].strip()


def error_of(text: str) -> str:
    """Return what went wrong, with figures left out."""
    return re.sub(r"\d+", "#", "\n".join(re.findall(r"error: .*|stopped .*", text)))


def follow(program: Program, command: str, before: str, ends: tuple[int, ...]) -> None:
    """Do what is said until it is done; the same error never comes twice."""
    errors = [error_of(before)]
    for _ in range(MOST_STEPS):
        ended = done(program, command)
        said = ended.stderr.decode()
        if ended.returncode in ends:
            return
        assert error_of(said) not in errors, said
        errors.append(error_of(said))
        command = next_step(said, COMMAND)
    raise AssertionError(f"no end to it: {errors}")


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(
        tmp_path_factory.mktemp("served"), QUICK + "[batches]\nduration_s = 1\n"
    ) as serving:
        yield serving


BATCHES = """
[defaults]
list_lag = "1s"
first_poll = "1s"
"""

SERVED = {
    "detached in live mode": Step(
        first=f"{REAL} --mode live --detach", said="--mode batch", then=f"{REAL} {{said}} --detach"
    ),
    "which batch": Step(first="claude-batch batches show", said="claude-batch batches list"),
    "batches of a run that is set aside": Step(
        first=f"{REAL} --mode batch --detach",
        code=6,
        said=COMMAND,
    ),
    "no such batch": Step(
        first="claude-batch batches show msgbatch_none", said="claude-batch batches list"
    ),
    "a sandbox in the environment": Step(
        before=stopped_at_its_bound,
        first="CLAUDE_BATCH_SANDBOX=1 claude-batch resume p.results.jsonl",
        code=5,
        said=r"unset CLAUDE_BATCH_SANDBOX",
        then="{said}; claude-batch resume p.results.jsonl",
    ),
    "a model that is not there": Step(
        first="claude-batch models no-such-model", said=COMMAND + r"|--live"
    ),
}


@pytest.mark.parametrize("case", cases(SERVED))
def test_a_step_that_is_named_is_done_at_a_server(
    tmp_path: Path, sandbox: Served, case: str
) -> None:
    step = SERVED[case]
    write_prompts(tmp_path / "p.jsonl", 30)
    (tmp_path / "claude-batch.toml").write_text(BATCHES)
    program = Program(folder=tmp_path, variables=sandbox.variables)
    step.before(program)
    refused = done(program, step.first)
    assert refused.returncode == step.code, refused.stderr.decode()
    said = next_step(refused.stderr.decode(), step.said)
    follow(
        program, step.then.format(first=step.first, said=said), refused.stderr.decode(), step.ends
    )


def test_an_interrupted_run_is_continued_by_the_command_it_prints(
    tmp_path: Path, sandbox: Served
) -> None:
    write_prompts(tmp_path / "p.jsonl", 120)
    program = Program(folder=tmp_path, variables=sandbox.variables)
    process = program.start("run", "p.jsonl", "--no-stdout", "--concurrency", "5")
    wait_for(lambda: len(lines_of(tmp_path / "p.results.jsonl")) > 3)
    process.send_signal(signal.SIGINT)
    said = process.communicate()[1].decode()
    assert process.returncode == 130, said
    follow(program, next_step(said, COMMAND), said, (0,))


def test_what_did_not_succeed_is_looked_at_and_retried_by_the_commands_that_are_printed(
    tmp_path: Path,
) -> None:
    lines = ['"hi"\n'] * 3 + ['"refuse"\n'] * 2
    (tmp_path / "p.jsonl").write_text("".join(lines))
    with odd_relay() as relay:
        variables = {"ANTHROPIC_BASE_URL": f"http://{relay.host}", "ANTHROPIC_API_KEY": "key"}
        program = Program(folder=tmp_path, variables=variables)
        said = done(program, REAL).stderr.decode()
        steps = re.findall(r"(?:continue|inspect)  +(.*)", said)
        codes = [done(program, step).returncode for step in steps]
    assert codes == [0, 3]  # they are refused again


@pytest.mark.long
def test_the_cheapest_way_of_an_estimate_can_be_taken(tmp_path: Path, sandbox: Served) -> None:
    write_prompts(tmp_path / "p.jsonl", 30)
    (tmp_path / "claude-batch.toml").write_text(BATCHES)
    program = Program(folder=tmp_path, variables=sandbox.variables)
    said = done(program, "claude-batch estimate p.jsonl").stdout.decode()
    command = re.findall(r"claude-batch run [^\n]*", said)[-1]
    taken = done(program, f"{command} --no-stdout")
    assert taken.returncode == 0, said + taken.stderr.decode()
