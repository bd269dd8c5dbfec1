"""Which endpoint of several is asked for which models: settings, the endpoints' lists, notes."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from claude_batch.commands.api import Api
from claude_batch.commands.endpoints import serves_by_settings
from claude_batch.config.settings import Endpoint
from claude_batch.core.catalog.serving import Serves, idle, is_claude, unserved
from claude_batch.core.model.requests import Failure
from claude_batch.errors import UsageError
from claude_batch.ui.screen.screen import Screen

if TYPE_CHECKING:
    from claude_batch.transport.opening import EndpointTransport

LIST_S = 10.0
"""Seconds that an endpoint has for the list of its models."""


def find_serving(models: Collection[str], api: Api, screen: Screen) -> Mapping[str, Serves]:
    """Return what each of several endpoints is asked for.

    Raises UsageError for a model that none of them serves.
    """
    serving = {each.name: serves_by_settings(each) for each in api.endpoints}
    without: dict[str, str] = {}
    others = [model for model in models if not is_claude(model)]
    to_ask = [name for name, serves in serving.items() if serves.asks and others]
    if to_ask:
        lists = asyncio.run(model_lists({n: t for n, t in api.open_again().items() if n in to_ask}))
        for name, found in lists.items():
            if isinstance(found, str):
                without[name] = found
            else:
                serving[name] = serving[name].with_list(found)
    if missing := unserved(models, serving):
        raise _unserved_error(missing[0], api.endpoints, without)
    by_name = {each.name: each for each in api.endpoints}
    for name in idle(models, serving):
        screen.notice(*_idle_note(by_name[name], models, serving[name]))
    return serving


def _unserved_error(
    model: str, endpoints: Collection[Endpoint], without: Mapping[str, str]
) -> UsageError:
    lists = "".join(f"; endpoint {name} has no list: {why}" for name, why in without.items())
    first = next((each for each in endpoints if each.provider == "openai"), None)
    where = f"endpoint {first.name}" if first else "the endpoint that serves it"
    return UsageError(
        f"no endpoint serves the model {model}: none names it{lists}; nothing was sent",
        hint=f'in the settings of {where} say models = ["{model}"], or serves_any = true',
    )


def _idle_note(endpoint: Endpoint, models: Collection[str], serves: Serves) -> tuple[str, str]:
    role = "the fallback" if endpoint.role == "fallback" else "endpoint"
    asked = ", ".join(sorted(models))
    named = sorted(serves.named | serves.listed)
    only = f"it serves {', '.join(named[:3])}" if named else "its settings name no model"
    example = f'models = {{ "{min(models)}" = "..." }}' if models else "models"
    return (
        f"{role} {endpoint.name} will never be used: {only}, and this run asks for {asked}",
        f"{example} says what it calls that model; serves_any = true sends it any",
    )


async def model_lists(
    transports: Mapping[str, EndpointTransport],
) -> dict[str, frozenset[str] | str]:
    """Return by endpoint the models it lists, or why there is no list; close them."""
    found = await asyncio.gather(*map(_list, transports.values()))
    return dict(zip(transports, found, strict=True))


async def _list(transport: EndpointTransport) -> frozenset[str] | str:
    """Return the models that an endpoint lists, or why there is no list; close it."""
    from claude_batch.transport.counting import CountingTransport  # noqa: PLC0415  # aiohttp: 0.2 s

    client = transport.client
    try:
        if not (client.abilities.models or client.provider == "openai"):
            return f"{client.provider} offers none"
        async with asyncio.timeout(LIST_S):
            answer = await CountingTransport(client).list_models()
    except TimeoutError:
        return f"no answer in {LIST_S:.0f} s"
    finally:
        await transport.close()
    if isinstance(answer, Failure):
        return f"status {answer.status}" if answer.status else answer.message
    return frozenset(each.id for each in answer)
