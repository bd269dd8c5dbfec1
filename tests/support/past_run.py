"""The files that a run of any size leaves: prompts, results, a journal with minutes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from claude_batch import __version__
from claude_batch.config.options import Options
from claude_batch.config.settings import RunSettings
from claude_batch.core.model.events import Event, Switched, Waited
from claude_batch.core.model.minutes import (
    FailureExample,
    LaneFigures,
    LimitFigures,
    Minute,
    Traffic,
    latency_bucket,
    length_s,
)
from claude_batch.core.model.requests import LimitKind
from claude_batch.storage.prompts.lines import fingerprint
from claude_batch.storage.run.journal import (
    Closed,
    JournalFile,
    Opened,
    RunIdentity,
    create_journal,
)
from claude_batch.storage.run.results import utc

BEGAN_AT = 1_796_040_000.0
_GONE = 999_999_999
"""The number of a process that is no more."""
_ITPM = 5_000_000.0
_MODELS = ("claude-haiku-5-5", "claude-haiku-5-5", "claude-haiku-5-5", "claude-sonnet-5-5")
_CLASSES = {"claude-haiku-5-5": "Haiku 5.5", "claude-sonnet-5-5": "Sonnet 5.5"}
_WORDS = (
    "the",
    "order",
    "was",
    "late",
    "and",
    "nobody",
    "could",
    "say",
    "where",
    "it",
    "had",
    "been",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRun:
    """A run of `total` prompts at about `per_minute`; `odd` are texts to be found in its files.

    Every 200th result failed, every 80th was cut off. `endpoints` took turns.
    """

    folder: Path
    total: int
    per_minute: int = 4_800
    endpoints: tuple[str, ...] = ("default",)
    odd: tuple[str, ...] = ()
    finished: bool = True

    @property
    def results(self) -> Path:
        """Its results file."""
        return self.folder / "tickets.results.jsonl"

    def write(self) -> Path:
        """Write its files; return its results."""
        prompts = self.folder / "tickets.jsonl"
        with prompts.open("wb") as file:
            file.writelines(map(self._prompt, range(1, self.total + 1)))
        size, sha256 = fingerprint(prompts)
        create_journal(
            self.results,
            RunIdentity(
                run_id="past",
                version=__version__,
                started_at=utc(BEGAN_AT),
                mode="live",
                prompts=str(prompts),
                prompts_path=str(prompts),
                results=str(self.results),
                size=size,
                sha256=sha256,
                total=self.total,
                invalid=0,
                options=Options(),
            ),
            RunSettings(),
        )
        with self.results.open("wb") as file:
            file.writelines(map(self._result, range(1, self.total + 1)))
        self._write_journal()
        return self.results

    def _text(self, line: int, words: int) -> str:
        drawn = random.Random(line)
        text = " ".join(drawn.choices(_WORDS, k=words))
        return f"{self.odd[line % len(self.odd)]} {text}" if self.odd else text

    def _id(self, line: int) -> str:
        return f"{self.odd[line % len(self.odd)]}-{line}" if self.odd else f"ticket-{line}"

    def _prompt(self, line: int) -> bytes:
        return orjson.dumps(
            {"custom_id": self._id(line), "prompt": self._text(line, 25)},
            option=orjson.OPT_APPEND_NEWLINE,
        )

    def _result(self, line: int) -> bytes:
        drawn = random.Random(-line)
        if line % 200 == 1:
            error = {"type": "api_error", "message": self._text(line, 6)}
            result = {"type": "errored", "error": {"type": "error", "error": error}}
        else:
            tokens = drawn.randint(40, 160)
            result = {
                "type": "succeeded",
                "message": {
                    "id": f"msg_{line}",
                    "type": "message",
                    "role": "assistant",
                    "model": _MODELS[line % len(_MODELS)],
                    "content": [{"type": "text", "text": self._text(line, tokens // 2)}],
                    "stop_reason": "max_tokens" if line % 80 == 2 else "end_turn",
                    "usage": {"input_tokens": 900, "output_tokens": tokens},
                },
            }
        meta = {
            "line": line,
            "attempts": 1 + (line % 50 == 3),
            "endpoint": self.endpoints[line % len(self.endpoints)],
            "started_at": utc(BEGAN_AT + 60.0 * line / self.per_minute),
            "latency_s": round(drawn.lognormvariate(0.4, 0.4), 3),
            "cost_usd": 0.0011 if result["type"] == "succeeded" else None,
            "cached": False,
        }
        value = {"custom_id": self._id(line), "result": result, "meta": meta}
        return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)

    # the journal

    def _write_journal(self) -> None:
        journal = JournalFile(self.results)
        journal.opened(Opened(at=utc(BEGAN_AT), process=_GONE, done=0))
        events = list(self._events())
        asyncio.run(journal.note(events))
        if self.finished:
            record = Closed(at=utc(self.ended_at), state="finished", exit_code=0, why="")
            journal.closed(record)
        journal.close()

    @property
    def ended_at(self) -> float:
        """When its last result was there."""
        return BEGAN_AT + 60.0 * self.total / self.per_minute

    def _events(self) -> Iterator[Event]:
        at, done = BEGAN_AT, 0
        while done < self.total:
            seconds = min(length_s(at - BEGAN_AT), self.ended_at - at)
            at += seconds
            end = min(self.total, round((at - BEGAN_AT) * self.per_minute / 60.0))
            if at >= self.ended_at - 1e-6:
                end = self.total
            yield self._minute(at, max(seconds, 1.0), end - done)
            done = end
        odd = self.odd[0] if self.odd else ""
        yield Waited(at=BEGAN_AT + 30, lane=f"Haiku 5.5{odd}", why=f"429{odd}", until=BEGAN_AT + 32)
        for name in self.endpoints[1:]:
            yield Switched(at=BEGAN_AT + 40, endpoint=name, state="failing", why=f"overloaded{odd}")

    def _minute(self, at: float, seconds: float, results: int) -> Minute:
        drawn = random.Random(at)
        limited = round(results * drawn.choice([0, 0, 0.001, 0.004]))
        failed = results // 200
        odd = self.odd[0] if self.odd else ""
        lanes = [f"{_CLASSES[model]}{odd}" for model in dict.fromkeys(_MODELS)]
        shares = {lane: (0.75, 0.25)[n] for n, lane in enumerate(lanes)}
        latency: dict[int, int] = {}
        for _ in range(min(results, 400)):
            bucket = latency_bucket(drawn.lognormvariate(0.4, 0.4))
            latency[bucket] = latency.get(bucket, 0) + max(1, results // 400)
        return Minute(
            at=at,
            seconds=seconds,
            attempts=results + limited,
            retried=limited,
            succeeded=results - failed,
            failed=failed,
            input_tokens=900 * results,
            output_tokens=100 * results,
            cost_usd=0.0011 * results,
            failures={
                k: n for k, n in {"rate_limited": limited, "server_error": failed}.items() if n
            },
            limited={"input_tokens": limited} if limited else {},
            examples={
                "rate_limited": FailureExample(custom_id=self._id(1), what=f"429{odd}: slow down")
            }
            if limited
            else {},
            latency=latency,
            traffic=tuple(
                Traffic(
                    lane=lane,
                    endpoint=f"{endpoint}",
                    model=model,
                    attempts=round((results + limited) * shares[lane] / len(self.endpoints)),
                    succeeded=round((results - failed) * shares[lane] / len(self.endpoints)),
                    input_tokens=round(900 * results * shares[lane] / len(self.endpoints)),
                    output_tokens=round(100 * results * shares[lane] / len(self.endpoints)),
                    cost_usd=0.0011 * results * shares[lane] / len(self.endpoints),
                )
                for lane, model in zip(lanes, dict.fromkeys(_MODELS), strict=True)
                for endpoint in self.endpoints
            ),
            lanes=tuple(
                LaneFigures(
                    lane=lane,
                    in_flight=drawn.randint(100, 140),
                    limits=tuple(
                        LimitFigures(
                            kind=kind.value,
                            per_minute=per_minute,
                            least=round(per_minute * share * drawn.uniform(0.8, 1.0), 1),
                            source="api",
                        )
                        for kind, per_minute, share in (
                            (LimitKind.REQUESTS, 5_000.0, 0.3),
                            (LimitKind.INPUT_TOKENS, _ITPM, 0.02),
                            (LimitKind.OUTPUT_TOKENS, 1_000_000.0, 0.6),
                        )
                    ),
                    waits={"pace:input_tokens": 0.7 * seconds, "limit:input_tokens": 0.2 * seconds},
                )
                for lane in lanes
            ),
        )
