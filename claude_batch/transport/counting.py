"""The free calls of the API: tokens of a request, models, configured limits.

Sources: docs/claude-api.md, "Rate Limits API" and "Token counting".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

import orjson

from claude_batch.core.model.account import ConfiguredLimits, ModelFacts
from claude_batch.core.model.requests import Failure, Request
from claude_batch.transport.attached import to_send
from claude_batch.transport.calls import (
    call,
    count_or_none,
    text,
    text_or_none,
    understood,
    wall_time,
)
from claude_batch.transport.clients import Client

COUNTED = (
    *("model", "messages", "system", "tools", "tool_choice"),
    *("thinking", "output_config", "cache_control", "speed"),
)
"""The params that count_tokens takes; it refuses all others."""

_HIDDEN = {403, 404}
_PAGE = 1000

T = TypeVar("T")


class CountingTransport:
    """The free calls to one endpoint."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.name = client.name

    async def count_tokens(self, request: Request) -> int | Failure:
        """Return the input tokens of a request, as the API counts them. Its own limit applies."""
        params = orjson.loads(self._client.renamed(request.body, request.model))
        body = orjson.dumps({name: params[name] for name in COUNTED if name in params})
        sent = await to_send(request, body, {"anthropic-version": request.api_version})
        if isinstance(sent, Failure):
            return sent
        answer = await call(
            self._client,
            "POST",
            "/v1/messages/count_tokens",
            headers=sent.headers,
            body=sent.body,
        )
        if isinstance(answer, Failure):
            return sent.outcome(answer)
        return understood(self._client, answer, _input_tokens)

    async def list_models(self) -> tuple[ModelFacts, ...] | Failure:
        """Return the models that the account may use, newest first."""
        # the base URL of an OpenAI-compatible endpoint includes /v1
        path = "/models" if self._client.provider == "openai" else "/v1/models"
        return await self._pages(path, _Cursor("last_id", "after_id"), _model)

    async def rate_limits(self) -> tuple[ConfiguredLimits, ...] | Failure | None:
        """Return the organization's limits; None when this key may not see them."""
        path = "/v1/organizations/rate_limits"
        found = await self._pages(path, _Cursor("next_page", "page"), _limits)
        hidden = isinstance(found, Failure) and found.status in _HIDDEN
        return None if hidden else found

    async def _pages(
        self, path: str, cursor: _Cursor, read: Callable[[dict[str, Any]], T]
    ) -> tuple[T, ...] | Failure:
        """Return what `read` makes of the items of all pages."""
        items: list[T] = []
        query = f"?limit={_PAGE}"
        asked = {query}
        while query:
            answer = await call(self._client, "GET", path + query)
            if isinstance(answer, Failure):
                return answer
            page = understood(
                self._client,
                answer,
                lambda page: ([read(item) for item in page["data"]], cursor.following(page)),
            )
            if isinstance(page, Failure):
                return page
            found, following = page
            items += found
            if following in asked:
                break  # a server whose pages lead in a circle
            asked.add(query := following)
        return tuple(items)


@dataclass(frozen=True, slots=True)
class _Cursor:
    """How to ask for the next page: its key in an answer, and its parameter in a request."""

    key: str
    parameter: str

    def following(self, page: dict[str, Any]) -> str:
        """Return the query of the page after this one; nothing after the last."""
        place = page.get(self.key) if page["data"] and page.get("has_more", True) else None
        return f"?limit={_PAGE}&{self.parameter}={quote(str(place), safe='')}" if place else ""


def _input_tokens(answer: dict[str, Any]) -> int:
    counted = count_or_none(answer["input_tokens"])
    if counted is None:
        raise ValueError("no number of tokens")
    return counted


def _model(item: dict[str, Any]) -> ModelFacts:
    return ModelFacts(
        id=text(item["id"]),
        display_name=text_or_none(item.get("display_name")) or item["id"],
        lifecycle=text_or_none(item.get("lifecycle")),
        retires_at=wall_time(item.get("retires_at")),
        max_input_tokens=count_or_none(item.get("max_input_tokens")),
        max_tokens=count_or_none(item.get("max_tokens")),
    )


def _limits(item: dict[str, Any]) -> ConfiguredLimits:
    group = item["group"]
    values = {text(limit["type"]): count_or_none(limit["value"]) for limit in item["limits"]}
    return ConfiguredLimits(
        group=text(group["type"]),
        name=text_or_none(group.get("display_name")),
        models=tuple(text(model) for model in item.get("models") or ()),
        values=tuple((name, value) for name, value in values.items() if value is not None),
    )
