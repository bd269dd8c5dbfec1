"""The Message Batches API of one endpoint: create, look, list, cancel, delete, results.

Nothing here retries: a create whose answer was lost may have made a batch, and the engine finds out
(docs/claude-api.md, "Lost creates"). Results are fetched below the endpoint's own base URL,
whatever origin `results_url` names, so that the key goes nowhere else.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping
from dataclasses import fields
from typing import Any
from urllib.parse import quote

from claude_batch.core.model.batches import (
    AnswerLost,
    BatchCounts,
    BatchPage,
    BatchStatus,
    BatchView,
)
from claude_batch.core.model.requests import Failure, FailureKind
from claude_batch.ports import BatchBody
from claude_batch.transport.calls import (
    call,
    count_or_none,
    text,
    text_or_none,
    understood,
    wall_time,
)
from claude_batch.transport.clients import Client
from claude_batch.transport.failures import own_failure, unforeseen_failure
from claude_batch.transport.headers import headers_of
from claude_batch.transport.network import Answer, BrokenAnswerError

CREATE_S = 300.0
SLOWEST_UPLOAD_BYTES_PER_S = 100_000
"""A create may take CREATE_S seconds and the time that its body takes at this speed."""
SILENCE_S = 120.0
"""Seconds without a byte of the results after which the download is given up."""

_PATH = "/v1/messages/batches"
_PARTIAL, _NOTHING_LEFT = 206, 416
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-")
_STATUSES = {status.value: status for status in BatchStatus}
_COUNTS = tuple(each.name for each in fields(BatchCounts))
_LIFE_S = 86_400.0
"""Seconds from the creation of a batch until it expires."""
_CLIENT_ERRORS = range(300, 500)
_MAYBE_DONE = {408, 499}
_OVERLOADED = 529


class BatchesTransport:
    """The Message Batches API of one endpoint. Implements ports.BatchApi."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.name = client.name

    async def create(
        self, body: BatchBody, *, api_version: str
    ) -> BatchView | Failure | AnswerLost:
        """Submit once. A `Failure` is a refusal: no batch came of it; all else is `AnswerLost`."""
        headers = {
            "content-type": "application/json",
            "content-length": str(body.size),
            "anthropic-version": api_version,
        }
        timeout_s = CREATE_S + body.size / SLOWEST_UPLOAD_BYTES_PER_S
        answer = await call(
            self._client, "POST", _PATH, headers=headers, body=body.pieces(), timeout_s=timeout_s
        )
        if isinstance(answer, Failure):
            return answer if _is_refusal(answer) else AnswerLost(failure=answer)
        view = self._view(answer)
        return AnswerLost(failure=view) if isinstance(view, Failure) else view

    async def retrieve(self, batch_id: str) -> BatchView | Failure:
        """Return what the API says of a batch."""
        return self._view(await self._get(_of(batch_id)))

    async def list(self, *, limit: int, after_id: str | None) -> BatchPage | Failure:
        """Return up to `limit` batches, newest first; with `after_id` those older than it."""
        query = f"?limit={limit}" + (f"&after_id={quote(after_id, safe='')}" if after_id else "")
        answer = await self._get(_PATH + query)
        if isinstance(answer, Failure):
            return answer
        server_time = headers_of(answer).server_time
        return understood(self._client, answer, lambda page: _page(page, server_time))

    async def cancel(self, batch_id: str) -> BatchView | Failure:
        """Ask for a batch to be canceled; it ends later, keeping what has succeeded."""
        return self._view(await call(self._client, "POST", _of(batch_id) + "/cancel"))

    async def delete(self, batch_id: str) -> Failure | None:
        """Delete a batch that has ended, and its results."""
        outcome = await call(self._client, "DELETE", _of(batch_id))
        return outcome if isinstance(outcome, Failure) else None

    async def results(
        self, batch_id: str, *, from_byte: int
    ) -> AsyncGenerator[bytes | Failure, None]:
        """Yield the bytes of a batch's results from `from_byte` on, whatever the server can do.

        A `Failure` comes last, if at all: what came before it is good.
        """
        headers = {"accept": "application/binary"}
        if from_byte:
            headers |= {"range": f"bytes={from_byte}-", "accept-encoding": "identity"}
        try:
            async with asyncio.timeout(SILENCE_S):
                answer = await self._client.send("GET", _of(batch_id) + "/results", headers=headers)
        except TimeoutError:
            yield _silent()
            return
        if isinstance(answer, Failure):
            if not (answer.status == _NOTHING_LEFT and from_byte > 0):
                yield answer
            return
        try:
            to_skip = _surplus(answer, from_byte)
            while data := await _piece(answer):
                if to_skip < len(data):
                    yield data[to_skip:]
                to_skip = max(0, to_skip - len(data))
        except BrokenAnswerError as error:
            message = self._client.scrub(f"the results broke off: {error}")
            yield own_failure(FailureKind.INVALID_RESPONSE, message)
        except TimeoutError:
            yield _silent()
        except Exception as error:  # noqa: BLE001  # the last resort
            yield unforeseen_failure(error, self._client.scrub)
        finally:
            await answer.release()

    async def _get(self, path: str) -> Answer | Failure:
        return await call(self._client, "GET", path)

    def _view(self, answer: Answer | Failure) -> BatchView | Failure:
        if isinstance(answer, Failure):
            return answer
        return understood(self._client, answer, batch_view)


def batch_view(batch: Mapping[str, Any]) -> BatchView:
    """Return a batch from its JSON; unknown fields are ignored, an unknown state is in progress.

    Raises ValueError, KeyError, TypeError, AttributeError or OverflowError when there is no id or
    no time of its creation.
    """
    created_at = wall_time(batch["created_at"])
    if created_at is None:
        raise ValueError("a batch without the time of its creation")
    counts = batch.get("request_counts") or {}
    numbers = {name: count_or_none(counts.get(name)) for name in _COUNTS}
    known = {name: each for name, each in numbers.items() if each is not None}
    return BatchView(
        id=text(batch["id"]),
        status=_STATUSES.get(str(batch.get("processing_status")), BatchStatus.IN_PROGRESS),
        counts=BatchCounts(**known),
        counts_reported=len(known) == len(_COUNTS),
        created_at=created_at,
        expires_at=wall_time(batch.get("expires_at")) or created_at + _LIFE_S,
        ended_at=wall_time(batch.get("ended_at")),
        archived_at=wall_time(batch.get("archived_at")),
        has_results=bool(batch.get("results_url")),
        is_canceled=batch.get("cancel_initiated_at") is not None,
    )


def _page(page: Mapping[str, Any], server_time: float | None) -> BatchPage:
    views = [_view_or_none(batch) for batch in page["data"]]
    return BatchPage(
        batches=tuple(view for view in views if view is not None),
        unread=views.count(None),
        has_more=bool(page.get("has_more")),
        last_id=text_or_none(page.get("last_id")),
        server_time=server_time,
    )


def _view_or_none(batch: Mapping[str, Any]) -> BatchView | None:
    try:
        return batch_view(batch)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None


def _of(batch_id: str) -> str:
    return f"{_PATH}/{quote(batch_id, safe='')}"


def _is_refusal(failure: Failure) -> bool:
    """Whether it is certain that no batch was made.

    A gateway's 500, 502 or 504 may hide a create that succeeded; so may anything that happened to
    a connection after it was made.
    """
    if failure.status is None:
        return failure.never_sent
    if failure.status == _OVERLOADED:
        return failure.error_type == "overloaded_error"  # the API's own word
    return failure.status in _CLIENT_ERRORS and failure.status not in _MAYBE_DONE


def _surplus(answer: Answer, from_byte: int) -> int:
    """Return how many bytes are known already: all of them where the range was ignored."""
    if answer.status != _PARTIAL:
        return from_byte
    range_header = _CONTENT_RANGE.match(answer.header(b"content-range"))
    begins_at = int(range_header[1]) if range_header else from_byte
    if begins_at > from_byte:
        raise BrokenAnswerError(f"asked from byte {from_byte}, got from {begins_at}")
    return from_byte - begins_at


async def _piece(answer: Answer) -> bytes:
    """Return the next part of the results. Raises TimeoutError when none comes for SILENCE_S."""
    async with asyncio.timeout(SILENCE_S):
        return await answer.piece()


def _silent() -> Failure:
    return own_failure(FailureKind.TIMED_OUT, f"no more results came for {SILENCE_S:.0f} s")
