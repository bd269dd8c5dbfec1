"""Settings with several endpoints for the program, and what its results say of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self


def write_settings(folder: Path, *endpoints: Mapping[str, Any], **pool: str) -> None:
    """Write a claude-batch.toml with these endpoints, and a [pool] if anything is said of it."""
    lines: list[str] = []
    for endpoint in endpoints:
        lines += ["[[endpoint]]", *(f"{key} = {_toml(value)}" for key, value in endpoint.items())]
    if pool:
        lines += ["[pool]", *(f"{key} = {_toml(value)}" for key, value in pool.items())]
    (folder / "claude-batch.toml").write_text("\n".join(lines) + "\n")


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{json.dumps(key)} = {_toml(each)}" for key, each in value.items())
        return f"{{ {pairs} }}"
    return json.dumps(value)  # strings and numbers are the same in both


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A result line: whose it is, how it ended, where, and when (seconds since 1970)."""

    custom_id: str
    type: str
    endpoint: str
    degraded: bool
    cached: bool
    began: float
    ended: float
    message: bytes

    @classmethod
    def read(cls, raw: bytes) -> Self:
        """Return what a line says; the message as the bytes that stand there."""
        value = json.loads(raw)
        meta = value["meta"]
        began = datetime.fromisoformat(meta["started_at"]).timestamp()
        return cls(
            custom_id=value["custom_id"],
            type=value["result"]["type"],
            endpoint=meta["endpoint"],
            degraded=meta.get("degraded", False),
            cached=meta["cached"],
            began=began,
            ended=began + (meta["latency_s"] or 0.0),
            message=raw.partition(b'"message":')[2].partition(b'},"meta":{"line"')[0],
        )


def read_results(path: Path) -> list[Line]:
    """Return the lines of a results file, in the order in which they stand there."""
    return [Line.read(raw) for raw in path.read_bytes().splitlines()]


def by_endpoint(lines: Sequence[Line]) -> Counter[str]:
    """Return how many results came from where."""
    return Counter(line.endpoint for line in lines)
