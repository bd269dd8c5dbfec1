"""How far a run folder is: the figures of its shards, folded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType

from claude_batch.config.options import Options
from claude_batch.core.model.requests import ResultType
from claude_batch.core.shards.claims import Claim
from claude_batch.core.shards.money import ShardMoney
from claude_batch.core.shards.names import shard_name
from claude_batch.storage.folder.claims import read_claims
from claude_batch.storage.folder.files import FolderFiles
from claude_batch.storage.folder.manifest import Manifest, Shard
from claude_batch.storage.folder.places import open_shard
from claude_batch.storage.folder.shards import Done, done_name, is_older, parse_done
from claude_batch.storage.run.paths import SHARDS, copied_prompts
from claude_batch.storage.run.recovery import left_to_retry
from claude_batch.storage.run.status import RunStatus, shard_status

_BYTES_PER_ROW = 500
"""What is assumed of files whose rows nobody has counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardStatus:
    """One shard: finished (`done`), begun (`run`), or neither. `claim` is the latest on it.

    `refused` is why the last process that claimed it has stopped, if that was before it sent.
    One that was finished is begun again as long as a retry is: `to_retry` results have no new one.
    """

    shard: Shard
    results: Path | None
    done: Done | None = None
    run: RunStatus | None = None
    claim: Claim | None = None
    to_retry: int = 0
    refused: str = ""

    @property
    def is_held(self) -> bool:
        """Whether a process works on it."""
        return self.done is None and self.claim is not None and self.claim.is_held

    @property
    def total(self) -> int:
        """Its requests; lines, or less than that, as long as nobody has looked at them."""
        if self.done is not None:
            return self.done.total
        if self.run is not None:
            return self.run.identity.total
        return self.shard.lines or max(1, self.shard.size // _BYTES_PER_ROW)

    @property
    def results_there(self) -> int:
        """Requests that have a result."""
        if self.done is not None:
            return self.done.done
        return 0 if self.run is None else self.run.tally.done

    @property
    def failed(self) -> int:
        """Results that are no answers."""
        if self.done is not None:
            return self.done.done - self.done.succeeded
        return 0 if self.run is None else self.run.tally.failed

    @property
    def cost_usd(self) -> float | None:
        """What it has cost; None where that is not known."""
        if self.done is not None:
            return self.done.cost_usd
        return None if self.run is None else self.run.tally.cost_usd

    @property
    def degraded(self) -> int:
        """Results that a fallback endpoint gave, as far as that was counted."""
        if self.done is not None:
            return self.done.degraded or 0
        return 0 if self.run is None else self.run.tally.degraded

    @property
    def endpoints(self) -> Mapping[str, int]:
        """Results by the endpoint that gave them."""
        if self.done is not None:
            return self.done.endpoints
        return {} if self.run is None else self.run.endpoints

    @property
    def money(self) -> ShardMoney:
        """What counts for the bound on the cost."""
        if self.done is not None:
            return ShardMoney(shard=self.shard.shard, spent_usd=self.done.most_usd, rows_left=0)
        spent = 0.0 if self.run is None else self.run.tally.most_spent_usd
        held = self.claim.max_cost_usd if self.is_held and self.claim is not None else None
        if held is not None and self.run is not None and "max_cost" in self.run.settings.adjusted:
            bound = self.run.settings.adjusted["max_cost"]
            held = math.inf if bound is None else max(held, bound)
        return ShardMoney(
            shard=self.shard.shard,
            spent_usd=spent,
            rows_left=max(self.to_retry, self.total - self.results_there),
            held_usd=held,
        )


MISSING, CHANGED = "missing", "changed"
"""What keeps a shard from being continued: its file is not there, or has another size."""


def input_problems(statuses: Iterable[ShardStatus]) -> dict[int, str]:
    """Return the shards that are left and cannot be continued with their files as they are: why.

    Only sizes are looked at: a change that leaves the size as it was is noticed when the shard
    begins. Objects are not looked at.
    """
    size_of, problems = cache(_size), {}
    for each in statuses:
        shard = each.shard
        if each.done is not None or each.is_held or shard.pinned is not None:
            continue
        size = size_of(shard.source)
        if size is None:
            if each.run is None or not copied_prompts(each.run.results).exists():
                problems[shard.shard] = MISSING
        elif size < shard.end if shard.end is not None else size != shard.size:
            problems[shard.shard] = CHANGED
    return problems


def _size(source: str) -> int | None:
    try:
        return Path(source).stat().st_size
    except OSError:
        return None


def tries_again(options: Options, done: Done) -> bool:
    """Return whether there may be something in a finished shard that is to be tried again."""
    return bool(
        (options.retry_errored and done.has_failures)
        or (options.retry_degraded and done.degraded != 0)
        or options.retry_stop
    )


def shard_statuses(
    path: Path, files: FolderFiles, manifest: Manifest, finished: dict[int, Done] | None = None
) -> list[ShardStatus]:
    """Return the state of every shard. Takes no lock and changes nothing.

    `finished` are shards that need not be looked at again; those that are new are added, and those
    that are retried are taken out.
    """
    claims, known = read_claims(files), {} if finished is None else finished
    below = files.names_below(SHARDS)
    known |= finished_shards(files, manifest, known, below)
    statuses = []
    for shard in manifest.shards:
        number, done = shard.shard, known.get(shard.shard)
        names = below.get(shard_name(number), ())
        results = open_shard(path, files, number).current(done, names)
        if done is not None and (results is None or results.name != done.results):
            del known[number]
        status = status_of(shard, results, done, claims.get(number))
        if status.done is None and status.claim is not None and not status.is_held:
            folder = open_shard(path, files, number)
            why = folder.refused(files, status.claim.epoch, names)
            status = replace(status, refused=why)
        statuses.append(status)
    files.forget_copies({number: each.epoch for number, each in known.items()}, len(statuses))
    return statuses


def status_of(
    shard: Shard, results: Path | None, done: Done | None, claim: Claim | None
) -> ShardStatus:
    """Return the state of a shard whose `results` count, which was finished as `done` says."""
    if results is None or (done is not None and results.name == done.results):
        return ShardStatus(shard=shard, results=results, done=done, claim=claim)
    is_held = claim is not None and claim.is_held
    return ShardStatus(
        shard=shard,
        results=results,
        run=shard_status(results, is_held=is_held),
        claim=claim,
        to_retry=0 if is_held else left_to_retry(results),
    )


def finished_shards(
    files: FolderFiles,
    manifest: Manifest,
    known: Mapping[int, Done] = MappingProxyType({}),
    below: Mapping[str, Iterable[str]] | None = None,
) -> dict[int, Done]:
    """Return what shards came to that were finished, but for those of which that is `known`.

    They may be retried since (`settled_shards`). `below` are the files of the shards by the names
    of their folders, where that is known: else they are found by one listing. Raises
    CheckpointError.
    """
    names: dict[int, str] = {}
    below = files.names_below(SHARDS) if below is None else below
    for shard in manifest.shards:
        folder = shard_name(shard.shard)
        name, before = done_name(below.get(folder, ())), known.get(shard.shard)
        if name is not None and (before is None or is_older(before, name)):
            names[shard.shard] = f"{SHARDS}/{folder}/{name}"
    contents = files.read_all([*names.values()])
    return {
        number: parse_done(contents[name], name)
        for number, name in names.items()
        if name in contents
    }


def settled_shards(path: Path, files: FolderFiles, manifest: Manifest) -> dict[int, Done]:
    """Return what shards came to that are finished, and of which no retry is unfinished.

    Raises CheckpointError.
    """
    below = files.names_below(SHARDS)
    found = finished_shards(files, manifest, below=below)

    def is_unfinished(shard: int) -> bool:
        names = below.get(shard_name(shard), ())
        return open_shard(path, files, shard).is_unfinished(found[shard], names)

    return {shard: done for shard, done in found.items() if not is_unfinished(shard)}


@contextmanager
def reading(
    path: Path, files: FolderFiles, statuses: Iterable[ShardStatus]
) -> Iterator[dict[int, Path]]:
    """Give the results of the shards that have some, by shard, for as long as they are read.

    Raises CheckpointError.
    """
    with ExitStack() as stack:
        results: dict[int, Path] = {}
        for each in statuses:
            shard = each.shard.shard
            if each.results is not None:
                found = stack.enter_context(open_shard(path, files, shard).reading(each.done))
                if found is not None:
                    results[shard] = found
        yield results


def done_of(status: RunStatus, shard: int, epoch: int) -> Done:
    """Return what a run came to whose requests all have their results."""
    tally, identity = status.tally, status.identity
    return Done(
        shard=shard,
        epoch=epoch,
        results=status.results.name,
        total=identity.total,
        succeeded=tally.ended[ResultType.SUCCEEDED],
        errored=tally.ended[ResultType.ERRORED],
        canceled=tally.ended[ResultType.CANCELED],
        expired=tally.ended[ResultType.EXPIRED],
        left_out=identity.invalid,
        output_errors=tally.output_errors,
        input_tokens=tally.input_tokens,
        output_tokens=tally.output_tokens,
        cost_usd=tally.cost_usd,
        most_usd=tally.most_spent_usd,
        finished_at=status.last_activity_at,
        errors=dict(tally.errors),
        stop_reasons=dict(tally.stops),
        degraded=tally.degraded,
        endpoints=dict(status.endpoints),
        unreported=tally.expenses.unreported,
    )
