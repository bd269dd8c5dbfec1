"""Result lines read back: which requests are done, and which bytes are no result line."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from claude_batch.core.model.requests import (
    MOST_TOKENS,
    UNFINISHED,
    ResultType,
    Usage,
    read_usage,
)
from claude_batch.core.scheduling.progress import Tally
from claude_batch.storage.by_line import ByLine, repeated
from claude_batch.storage.files import open_to_read

_TYPES = {kind.value: kind for kind in ResultType}
_LINE_START = re.compile(rb'\{"custom_id":')
_MOST_STARTS = 100
_NOTHING: Mapping[str, Any] = {}


class Entry(NamedTuple):
    """One result line: which request it belongs to and how that ended.

    `line` is None where the result has no line number. What came from the cache has used nothing.
    `degraded`: a fallback endpoint has answered; `breaks_schema`: the answer does not fit.
    A tuple, since resuming a large run makes a million of them.
    """

    custom_id: str
    line: int | None
    type: ResultType
    usage_json: Mapping[str, Any]
    """The usage as the API wrote it."""
    cost_usd: float | None
    degraded: bool = False
    endpoint: str = ""
    breaks_schema: bool = False
    stop_reason: str | None = None
    error: str | None = None
    """The type of the error of an errored result."""

    @property
    def usage(self) -> Usage:
        """What the reply used; nothing where that cannot be read."""
        return read_usage(self.usage_json)


_REPLIES_READ = 2_000
"""Replies of an earlier run from which the mean length of an answer is taken."""

_MOST_USD = 1e9
"""A cost of one result beyond this is damage, and not added up."""


@dataclass(slots=True)
class Done:
    """Which requests have a result: by line number, with eight bytes of their id; else by id.

    By id are those whose result has no line number, or one that another request's result has
    taken. Whether the ids are those of the prompts' lines, `recovery.prove` finds out.
    """

    digests: ByLine = field(default_factory=ByLine)
    ids: set[str] = field(default_factory=set)

    def add(self, custom_id: str, line: int | None) -> bool:
        """Note a result; return False if there was one already."""
        if line is not None:
            digest, known = id_digest(custom_id), self.digests[line]
            if not known:
                self.digests[line] = digest
                return True
            if known == digest:
                return False
        new = custom_id not in self.ids
        self.ids.add(custom_id)
        return new

    def __contains__(self, line: int) -> bool:
        return self.digests[line] != 0

    def repeated(self) -> frozenset[int]:
        """Return the digests of ids that have several results, under different lines."""
        digests = array("q", self.digests)
        digests.extend(map(id_digest, self.ids))
        return repeated(digests)


def id_digest(custom_id: str) -> int:
    """Return the eight bytes kept of an id; never 0, and different in every process."""
    return hash(custom_id) or 1


@dataclass(slots=True)
class Checkpoint:
    """A results file read back. Offsets and sizes are bytes.

    `tally` and `endpoints` (results by where they came from) count one result per request. `size`
    is the length without a torn tail of `torn_bytes`; `open_end`: the file does not end with a
    newline. `damaged` counts stretches that are no result, or a second one of the same line;
    `surplus` further results of a request under other line numbers.
    """

    done: Done = field(default_factory=Done)
    tally: Tally = field(default_factory=Tally)
    endpoints: Counter[str] = field(default_factory=Counter)
    size: int = 0
    torn_bytes: int = 0
    open_end: bool = False
    damaged: int = 0
    surplus: int = 0


def parse_entry(raw: bytes) -> Entry | None:
    """Return the result in a line, or None if it is no result line.

    An id and how the request ended make it one: a user may have removed the rest.
    """
    try:
        value = orjson.loads(raw)
        result = value["result"]
        kind = _TYPES[result["type"]]
        custom_id = value["custom_id"]
        meta = value.get("meta") or _NOTHING
        line = meta.get("line")
        cost_usd: Any = meta.get("cost_usd")
        cached, degraded = meta.get("cached"), meta.get("degraded") is True
        endpoint = meta.get("endpoint")
        broken = meta.get("output_error") is not None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    if type(custom_id) is not str or not (line is None or (type(line) is int and line > 0)):
        return None
    try:
        usage = (not cached and result["message"]["usage"]) or _NOTHING
    except (TypeError, KeyError):
        usage = _NOTHING
    if not (type(cost_usd) in {float, int} and 0 <= cost_usd < _MOST_USD):
        cost_usd = None
    endpoint = endpoint if type(endpoint) is str else ""
    stop_reason = error = None
    if kind is ResultType.SUCCEEDED:
        stop_reason = _stop_reason(result)
    elif kind is ResultType.ERRORED:
        error = _error_type(result.get("error"))
    return Entry(
        custom_id, line, kind, usage, cost_usd, degraded, endpoint, broken, stop_reason, error
    )


def _stop_reason(result: Mapping[str, Any]) -> str | None:
    message = result.get("message")
    reason = message.get("stop_reason") if type(message) is dict else None
    return reason if type(reason) is str else None


def _error_type(error: Any) -> str:
    """Return the type of an error, which may stand within another; not known: ""."""
    inner = error.get("error") if type(error) is dict else None
    whole = error if type(error) is dict else _NOTHING
    found = (inner if type(inner) is dict else whole).get("type")
    return found if type(found) is str else ""


def read_lines(path: Path) -> Iterator[tuple[bytes, Entry | None]]:
    """Yield each line as it is in the file, with its result, if it is one.

    A line that a power loss padded with NUL bytes, or glued to a torn one, is yielded in parts:
    junk and whole lines. The last line may lack its newline; then it is torn, unless it is whole.
    """
    try:
        file = open_to_read(path)
    except FileNotFoundError:
        return
    with file:
        for raw in file:
            entry = parse_entry(raw)
            if entry is not None:
                yield raw, entry
            else:
                yield from salvage(raw)


def salvage(raw: bytes) -> Iterator[tuple[bytes, Entry | None]]:
    """Yield a damaged line in parts: each result that is whole, and the junk around it."""
    starts = [found.start() for found in _LINE_START.finditer(raw)]
    done = 0  # up to here everything has been yielded
    for number, start in enumerate(starts):
        if start < done:
            continue
        nearest = starts[number + 1 : number + _MOST_STARTS]
        for end in (len(raw), *nearest):
            entry = parse_entry(raw[start:end].rstrip(b"\0"))
            if entry is None:
                continue
            if start > done:
                yield raw[done:start], None
            yield raw[start:end].rstrip(b"\0"), entry
            done = start + len(raw[start:end].rstrip(b"\0"))
            break
    if done < len(raw):
        yield raw[done:], None


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a results file back, changing nothing."""
    checkpoint = _read(path, frozenset())
    repeated_ids = checkpoint.done.repeated()
    return _read(path, repeated_ids) if repeated_ids else checkpoint


def _read(path: Path, repeated_ids: frozenset[int]) -> Checkpoint:
    """Read a results file, counting only the first result of each of `repeated_ids`."""
    checkpoint = Checkpoint()
    done, tally, endpoints = checkpoint.done, checkpoint.tally, checkpoint.endpoints
    seen: set[int] = set()
    size = damaged = torn_bytes = 0
    open_end = False
    for raw, entry in read_lines(path):
        size += len(raw)
        damaged += open_end  # something follows: it was no tail
        torn_bytes, open_end = 0, not raw.endswith(b"\n")
        if entry is not None and done.add(entry.custom_id, entry.line):
            if repeated_ids and (digest := id_digest(entry.custom_id)) in repeated_ids:
                if digest in seen:
                    checkpoint.surplus += 1
                    continue
                seen.add(digest)
            _count(tally, entry)
            endpoints[entry.endpoint] = endpoints.get(entry.endpoint, 0) + 1
        elif entry is None and open_end:
            torn_bytes = len(raw)
        else:
            damaged += 1
    checkpoint.size, checkpoint.torn_bytes = size - torn_bytes, torn_bytes
    checkpoint.open_end, checkpoint.damaged = open_end, damaged
    return checkpoint


def _count(tally: Tally, entry: Entry) -> None:
    """Count a result as `Tally.add` does, reading no more of its usage than is counted."""
    usage = entry.usage_json
    try:
        read = (
            (usage.get("input_tokens") or 0)
            + (usage.get("cache_creation_input_tokens") or 0)
            + (usage.get("cache_read_input_tokens") or 0)
        )
        written = usage.get("output_tokens") or 0
        plausible = 0 <= read < MOST_TOKENS and 0 <= written < MOST_TOKENS
    except (TypeError, AttributeError):
        plausible = False
    if plausible and type(read) is int and type(written) is int:
        tally.input_tokens += read
        tally.output_tokens += written
    tally.ended[entry.type] += 1
    tally.degraded += entry.degraded
    tally.output_errors += entry.breaks_schema
    if entry.stop_reason in UNFINISHED:
        tally.stops[entry.stop_reason] += 1
    if entry.error is not None:
        tally.errors[entry.error] += 1
    if entry.cost_usd is not None:
        tally.priced += 1
        tally.cost_usd = (tally.cost_usd or 0.0) + entry.cost_usd


def output_lengths(results: Path) -> Iterator[int]:
    """Yield the output tokens of the first replies in a results file."""
    entries = (entry for _, entry in read_lines(results) if entry is not None)
    usages = (each.usage for each in entries if each.type is ResultType.SUCCEEDED)
    replies = (usage.output_tokens for usage in usages if usage.is_reported)
    return islice(replies, _REPLIES_READ)


def mean_output(results: Path) -> float | None:
    """Return the mean output tokens of the first replies in a results file; None without any."""
    lengths = list(output_lengths(results))
    return sum(lengths) / len(lengths) if lengths else None
