"""Result lines read back: what is done, and which bytes are no result line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from claude_batch.core.model import ResultType, Usage
from claude_batch.core.progress import Tally
from claude_batch.core.usage import read_usage

_TYPES = {kind.value: kind for kind in ResultType}
_LINE_START = b'{"custom_id":'


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One result line: whose it is and how it ended. `line` is None where it does not say."""

    custom_id: str
    line: int | None
    type: ResultType
    usage: Usage
    cost_usd: float | None


@dataclass(slots=True)
class Done:
    """Which requests have a result: by line number, one byte each; by id only without one."""

    lines: bytearray = field(default_factory=bytearray)
    ids: set[str] = field(default_factory=set)

    def add(self, entry: Entry) -> bool:
        """Note a result; return False if there was one already."""
        if entry.line is None:
            new = entry.custom_id not in self.ids
            self.ids.add(entry.custom_id)
            return new
        if entry.line >= len(self.lines):
            self.lines.extend(bytes(max(entry.line + 1, 2 * len(self.lines)) - len(self.lines)))
        new = not self.lines[entry.line]
        self.lines[entry.line] = 1
        return new

    def __contains__(self, line: int) -> bool:
        return line < len(self.lines) and self.lines[line] == 1


@dataclass(slots=True)
class Checkpoint:
    """A results file read back. Offsets and sizes are bytes.

    `size` is the length without a torn tail of `torn_bytes`; `open_end` tells that the file does
    not end with a newline. `damaged` counts stretches that are no result, or a second one of the
    same request.
    """

    done: Done = field(default_factory=Done)
    tally: Tally = field(default_factory=Tally)
    size: int = 0
    torn_bytes: int = 0
    open_end: bool = False
    damaged: int = 0


def parse_entry(raw: bytes) -> Entry | None:
    """Return the result that `raw` holds, or None if it is no result line."""
    try:
        value = orjson.loads(raw)
        result = value["result"]
        kind = _TYPES[result["type"]]
        meta = value.get("meta") or {}
        custom_id = value["custom_id"]
        line = meta.get("line")
        usage = (
            read_usage(result["message"].get("usage") or {})
            if kind is ResultType.SUCCEEDED
            else Usage()
        )
        cost_usd = meta.get("cost_usd")
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    if not isinstance(custom_id, str) or not (line is None or (type(line) is int and line > 0)):
        return None
    return Entry(
        custom_id=custom_id,
        line=line,
        type=kind,
        usage=usage,
        cost_usd=cost_usd if isinstance(cost_usd, float | int) else None,
    )


def read_lines(path: Path) -> Iterator[tuple[bytes, Entry | None]]:
    """Yield each line as it stands in the file, with the result it holds, if any.

    A line that a power loss padded with NUL bytes is yielded in parts: the junk, then the
    intact line. The last line may lack its newline; then it is torn, unless it is whole.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        for raw in file:
            entry = parse_entry(raw)
            if entry is not None:
                yield raw, entry
                continue
            start = max(0, raw.rfind(_LINE_START))
            salvaged = parse_entry(raw[start:])
            if salvaged is None:
                yield raw, None
            else:
                yield raw[:start], None
                yield raw[start:], salvaged


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a results file back, changing nothing."""
    checkpoint = Checkpoint()
    for raw, entry in read_lines(path):
        checkpoint.size += len(raw)
        checkpoint.damaged += checkpoint.torn_bytes > 0  # something follows: it was no tail
        checkpoint.torn_bytes = 0
        checkpoint.open_end = not raw.endswith(b"\n")
        if entry is not None and checkpoint.done.add(entry):
            checkpoint.tally.add(entry.type, entry.usage, entry.cost_usd)
        elif entry is None and checkpoint.open_end:
            checkpoint.torn_bytes = len(raw)
        else:
            checkpoint.damaged += 1
    checkpoint.size -= checkpoint.torn_bytes
    return checkpoint
