"""What a run says as it begins and as it ends: what happened, where, and what to do next."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from claude_batch.commands.check import default_note
from claude_batch.commands.run.remedies import first_step
from claude_batch.commands.run.retrying import override_options
from claude_batch.core.catalog.routing import went_where
from claude_batch.core.model.batches import ChunkState
from claude_batch.core.model.snapshot import Snapshot
from claude_batch.core.model.units import dollars, duration
from claude_batch.core.planning.mode import Prospects
from claude_batch.core.scheduling.decisions import Refusal, Stop, StopKind
from claude_batch.core.scheduling.progress import Tally
from claude_batch.errors import CheckpointError, Exit
from claude_batch.storage.objects.locations import is_url
from claude_batch.storage.run.batch_journal import read_batches
from claude_batch.storage.run.journal import Closed
from claude_batch.storage.run.opening import OpenRun, RunRequest, left_out_path
from claude_batch.storage.run.paths import run_folder_of, url_of
from claude_batch.storage.run.recovery import Retried
from claude_batch.storage.tables.writing import is_table
from claude_batch.ui.figures import moment, stops_text
from claude_batch.ui.screen.screen import RunSummary, Screen


def tell_opened(
    screen: Screen, request: RunRequest, opened: OpenRun, *, is_first: bool = True
) -> None:
    """Say what kind of run this is: new, resumed or done; and what was repaired or left out.

    What is true of other shards, too, is said of the first.
    """
    identity, checkpoint = opened.identity, opened.checkpoint
    done, total = checkpoint.tally.done, identity.total
    results = shown(request.results)
    if opened.is_done:
        _tell_finished(screen, request, opened)
    elif opened.checked is None:
        why = f" ({opened.left.why})" if opened.left and opened.left.why else ""
        screen.notice(f"resuming {results}: {done:,} of {total:,} are done{why}")
    elif request.table is not None:
        table = shown(request.table)
        screen.notice(
            f"{counted(total, 'prompt')}; the table will be {table}, results are {results}"
        )
    elif run_folder_of(request.results) is None:
        later = f"for a table then: claude-batch results {shlex.quote(results)} -o answers.csv"
        hint = later if is_table(Path(request.prompts)) else ""
        screen.notice(f"{counted(total, 'prompt')}; results go to {results}", hint)
    if opened.limited is not None and opened.limited.rows < total:
        screen.notice(f"--limit: {counted(opened.limited.rows, 'row')} of {total:,} for now")
    if is_first:
        _tell_checked(screen, request, opened)
    _tell_repaired(screen, request, opened)
    if opened.restored and not opened.retaken:
        screen.notice(retried_text(Retried(put_back=opened.restored), request.results))
    if opened.added:
        screen.notice(f"--extend: {counted(opened.added, 'row')} added")
    if opened.retry is not None:
        how = override_options(opened.retry)
        doing = "continuing the retry of" if opened.continued else "retrying"
        requests = counted(opened.retaken, "request")
        screen.notice(f"{doing} {requests}{f' with {how}' if how else ''}")


def _tell_finished(screen: Screen, request: RunRequest, opened: OpenRun) -> None:
    tally, total = opened.checkpoint.tally, opened.identity.total
    if run_folder_of(request.results) is not None:  # its process died before it could note that
        screen.notice(f"all {counted(total, 'result')} of the shard are there")
        return
    results = shown(request.results)
    screen.notice(
        f"this run is finished: {tally.done:,} of {total:,} results are in {results}",
        "\n".join(_next_steps(tally)),
    )


def fallback_text(before: str | None, snapshot: Snapshot) -> str:
    """Return that a fallback has taken over, and why; or that it is not needed any more."""
    if snapshot.fallback is None:
        return f"endpoints of first choice answer again: the fallback {before} is not needed now"
    why = [
        f"{each.name}: {each.why}"
        for each in snapshot.endpoints
        if each.why and each.name != snapshot.fallback
    ]
    why = why or [each.what for each in snapshot.failures[-1:]] or ["the others can take no more"]
    return f"the fallback {snapshot.fallback} takes over ({'; '.join(why)})"


def _next_steps(tally: Tally) -> Iterator[str]:
    """Yield what can be done with a run that is finished."""
    if tally.failed:
        yield f"--retry-errored retries the {tally.failed:,} that did not succeed"
    if tally.output_errors:
        yield (
            f"--retry-errored asks again for the {counted(tally.output_errors, 'answer')} that "
            "break their schema"
        )
    if cut_off := tally.stops.get("max_tokens"):
        yield f"--retry-stop max_tokens --max-tokens N gives the {cut_off:,} cut off more room"
    if tally.degraded:
        yield f"--retry-degraded asks again for the {tally.degraded:,} answers of a fallback"
    yield "run --fresh starts over"


def tell_left_running(screen: Screen, request: RunRequest) -> None:
    """Say which batches of a run that is set aside the API still works on, and charges."""
    try:
        chunks = read_batches(request.results).open_chunks
    except CheckpointError as error:
        screen.notice(error.message, "claude-batch batches list shows which batches there are")
        return
    ids = [chunk.batch_id for chunk in chunks if chunk.batch_id is not None]
    if ids:
        screen.notice(
            f"the run that is set aside has batches in progress: {', '.join(ids)}",
            f"to stop paying for them: claude-batch batches cancel {ids[0]}",
        )


def _tell_checked(screen: Screen, request: RunRequest, opened: OpenRun) -> None:
    checked = opened.checked
    if checked is None:
        return
    if note := default_note(checked, request.defaults):
        screen.notice(note)
    for note in checked.notes:
        screen.notice(note)
    if checked.routed:
        screen.notice(f"routes: {went_where(checked.routed)}")
    for warning in checked.warnings:
        screen.notice(f"warning: {warning}")


def _tell_repaired(screen: Screen, request: RunRequest, opened: OpenRun) -> None:
    checkpoint = opened.checkpoint
    if checkpoint.torn_bytes:
        screen.notice(
            f"repaired: removed an incomplete last line of {checkpoint.torn_bytes:,} bytes"
        )
    if checkpoint.damaged:
        screen.notice(
            f"repaired: {counted(checkpoint.damaged, 'damaged or repeated line')} moved to "
            f"{shown(request.results)}.damaged; requests without a result are sent again"
        )
    if opened.identity.invalid:
        screen.notice(
            f"left out: {counted(opened.identity.invalid, 'bad line')}, listed in "
            f"{shown(left_out_path(request.results))}"
        )


def retried_text(retried: Retried, results: Path) -> str:
    """Return what became of results that a retry has taken out."""
    parts = []
    if retried.replaced:
        parts.append(
            f"{counted(retried.replaced, 'earlier result')} replaced (kept in "
            f"{shown(results)}.retried)"
        )
    if retried.put_back:
        parts.append(
            f"{counted(retried.put_back, 'earlier result')} put back: the retry has brought "
            "nothing better"
        )
    return "; ".join(parts)


OUTPUT_CLOSED = RunSummary(
    message="output closed early; run the same command to resume",
    resume_command=None,
    exit_code=Exit.READER_GONE,
)


def summary_of(  # what a run ended with, in one place
    code: int,
    stop: Stop | None,
    opened: OpenRun,
    snapshot: Snapshot | None,
    results: Path,
    closed: Closed,
) -> RunSummary:
    """Return how a run ended, and the command that resumes it, if there is more."""
    total = opened.identity.total
    done = snapshot.done if snapshot else opened.checkpoint.tally.done
    if stop is None:
        return _finished(code, opened, snapshot, results, closed)
    if stop.kind is StopKind.LIMIT:
        command = resume_command(results, closed)
        return RunSummary(message=stop.message, resume_command=command, exit_code=code)
    is_detached, options = stop.kind is StopKind.DETACHED, opened.identity.options
    open_batches = "" if is_detached else _open_batches(snapshot, sandbox=options.sandbox)
    reason = stop_text(stop, closed.max_cost_usd)
    changed = bool(closed.again and stop.cause)
    return RunSummary(
        message=f"{reason}{open_batches}; {total - done:,} of {total:,} left",
        first="" if changed else first_step(stop.kind, is_retry=opened.retry is not None),
        resume_command=resume_command(results, closed) or None,
        exit_code=code,
    )


def resume_command(results: Path, closed: Closed | None) -> str:
    """Return the command that resumes a run; one that met --max-cost needs a higher bound.

    Nothing where what all requests failed with is known to no option: the prompts have to change.
    """
    folder = run_folder_of(results)
    if folder is not None:  # whose bound on the cost is another one
        again = f" {closed.again}" if closed and closed.again else ""
        return f"claude-batch resume {shlex.quote(shown(folder))}/{again}"
    command = f"claude-batch resume {shlex.quote(shown(results))}"
    if closed and closed.kind == StopKind.IDENTICAL_FAILURES and not closed.again:
        return ""
    if closed and closed.again:
        command += f" {closed.again}"
    if closed is None or closed.kind != StopKind.COST or closed.max_cost_usd is None:
        return command
    return f"{command} --max-cost {closed.enough_usd or 2 * closed.max_cost_usd:.10g}"


def stop_text(stop: Stop, max_cost_usd: float | None, *, when: str = "", at: str = "") -> str:
    """Return why a run stopped early: stopped 03:04 by --max-cost (25.00 USD) at 8 of 20: ..."""
    if stop.kind is StopKind.DETACHED:
        return stop_detail(stop)
    interrupted, detail = stop.kind is StopKind.INTERRUPTED, stop_detail(stop)
    cause = _CAUSES.get(stop.kind, "")
    if stop.kind is StopKind.COST and max_cost_usd is not None:
        cause += f" ({dollars(max_cost_usd)})"
    what = "interrupted" if interrupted else "stopped"
    text = " ".join(filter(None, (what, when, cause, at)))
    return text if interrupted or not detail else f"{text}: {detail}"


_CAUSES = {
    StopKind.REFUSED: "by the API",
    StopKind.ENDPOINT: "since the endpoint refuses the credential",
    StopKind.UNUSABLE: "since the endpoint cannot be used",
    StopKind.MODEL: "since no endpoint serves a model",
    StopKind.IDENTICAL_FAILURES: "since the first replies all failed alike",
    StopKind.PATIENCE: "by --patience",
    StopKind.COST: "by --max-cost",
    StopKind.LIMIT: "by --limit",
}


def trial_text(done: int, total: int, *, spent_usd: float | None, rest: Prospects) -> str:
    """Return what a part of a file has cost, and what the whole of it will, live and as batch."""
    spent = spent_usd or 0.0
    text = f"{done:,} of {total:,} done: {dollars(spent)}."
    if rest.cost_live_usd is not None:
        live = dollars(spent + rest.cost_live_usd)
        took = "" if rest.live_eta_s is None else f", {duration(rest.live_eta_s)} live"
        text += f" The whole file: about {live}{took}"
        if rest.cost_batch_usd is not None:
            text += f"; {dollars(spent + rest.cost_batch_usd)} as batch"
        text += "."
    return f"{text} To continue, run the same command without --limit"


def _open_batches(snapshot: Snapshot | None, *, sandbox: bool) -> str:
    """Return what becomes of batches that the API still works on, if there are any."""
    chunks = snapshot.chunks if snapshot else ()
    open_ones = sum(chunk.state is not ChunkState.COLLECTED for chunk in chunks)
    if not open_ones:
        return ""
    if sandbox:
        batches = "batch is gone" if open_ones == 1 else "batches are gone"
        return f"; {open_ones:,} {batches} with the sandbox, resume submits the requests again"
    batches = "batch continues" if open_ones == 1 else "batches continue"
    return f"; {open_ones:,} {batches} at the API, resume collects the results"


def _only(snapshot: Snapshot | None) -> str:
    """Return the options with which `results` shows what did not succeed."""
    kinds = ("errored", "canceled", "expired")
    met = [kind for kind in kinds if snapshot and getattr(snapshot, kind)]
    return " ".join(f"--only {kind}" for kind in met or kinds[:1])


_ALL_SUCCEEDED = "finished: every request succeeded"


def _finished(
    code: int, opened: OpenRun, snapshot: Snapshot | None, results: Path, closed: Closed
) -> RunSummary:
    failed = snapshot.failed if snapshot else 0
    name = shlex.quote(shown(results))
    if failed:
        return RunSummary(
            message=f"finished; {failed:,} did not succeed" + _of_others(snapshot),
            look_command=f"claude-batch results {name} {_only(snapshot)}",
            resume_command=f"claude-batch resume {closed.again or '--retry-errored'} {name}",
            exit_code=code,
        )
    message = _ALL_SUCCEEDED
    stops = stops_text(snapshot.stop_reasons) if snapshot else ""
    if opened.identity.invalid:
        message = f"finished; {counted(opened.identity.invalid, 'bad line')} left out"
    if snapshot and snapshot.cached:
        message += f"; {counted(snapshot.cached, 'answer')} reused at no cost"
    if stops:
        message += f"; of these: {stops}"
    degraded = snapshot.degraded if snapshot else 0
    if degraded:
        message += f"; a fallback answered {degraded:,}"
    again = f"claude-batch resume --retry-degraded {name}" if degraded else None
    return RunSummary(message=message, resume_command=again, exit_code=code)


def with_output_errors(
    summary: RunSummary, broken: int, results: Path, *, enough_tokens: int | None
) -> RunSummary:
    """Return the end of a run that also says how many answers break their schema.

    `enough_tokens` is for a retry of answers that were cut off: with what they had they would be
    cut off again, and paid for again.
    """
    message = summary.message
    if message.startswith(_ALL_SUCCEEDED):
        message = "finished" + message.removeprefix(_ALL_SUCCEEDED).replace("of these: ", "", 1)
    verb = "breaks its" if broken == 1 else "break their"
    more = "" if enough_tokens is None else f" --max-tokens {enough_tokens}"
    again = f"claude-batch resume --retry-errored{more} {shlex.quote(shown(results))}"
    return replace(
        summary,
        message=f"{message}; {counted(broken, 'answer')} {verb} schema",
        resume_command=summary.resume_command or again,
    )


def _of_others(snapshot: Snapshot | None) -> str:
    """Return how successes ended that are not what was asked for."""
    stops = stops_text(snapshot.stop_reasons) if snapshot else ""
    return f"; of those that did: {stops}" if stops else ""


def stop_detail(stop: Stop) -> str:
    """Return what a run met, as facts: the API's message, what was refused, spent or awaited."""
    if stop.waited_s is not None:
        waited = f"no success for {duration(stop.waited_s)}"
        return f"{waited}; last: {stop.message}" if stop.message else waited
    if stop.retry_in_s is not None:
        now = time.time()
        wait = f"nothing can be sent before {moment(now + stop.retry_in_s, now)}"
        wait += f" (in {duration(stop.retry_in_s)}), and --patience ends before"
        return f"{wait}; last: {stop.message}" if stop.message else wait
    if stop.max_cost_usd is not None:
        lost = stop.lost_answers
        left = " (its answer may have been lost with a killed process)" if lost else ""
        return (
            f"the next request might cost more than is left{left}: "
            f"{stop.spent_usd or 0.0:.4g} of {stop.max_cost_usd:.4g} USD spent"
        )
    if stop.kind is StopKind.LIMIT:
        return ""  # its message is for the end of the command
    if stop.refusals:
        return "; ".join(_refusal(each) for each in stop.refusals)
    return stop.message


def _refusal(refusal: Refusal) -> str:
    return ": ".join(part for part in (refusal.model, refusal.endpoint, refusal.reason) if part)


def counted(number: int, noun: str, plural: str = "s") -> str:
    """Return `1 request`, `1,200 requests`."""
    return f"{number:,} {noun}{'' if number == 1 else plural}"


def shown_source(name: str) -> str:
    """Return the path of an input as the user would type it from here, or its URL."""
    return name if is_url(name) else shown(Path(name))


def shown(path: Path) -> str:
    """Return a path as the user would type it from here; of a copy, the URL it is a copy of."""
    if (url := url_of(path)) is not None:
        return url
    try:
        return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
    except OSError:
        return str(path)


def results_name(results: Path) -> str:
    """Return where results are found; of a copy of a shard, which is deleted, its folder's URL."""
    folder = run_folder_of(results)
    url = None if folder is None else url_of(folder)
    return str(results) if url is None else f"{url}/"
