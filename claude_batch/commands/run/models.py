"""Models that nobody knows are asked about before anything is sent: a wrong one costs nothing.

The question to an endpoint is its list of models, which is free.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from claude_batch.commands.api import Api
from claude_batch.commands.endpoints import serves_by_settings
from claude_batch.commands.run.requests import models_left
from claude_batch.commands.run.serving import model_lists
from claude_batch.commands.terminal import confirmed
from claude_batch.config.settings import Endpoint
from claude_batch.core.catalog.catalog import Catalog, meant_model
from claude_batch.core.catalog.serving import is_claude
from claude_batch.errors import UsageError
from claude_batch.storage.run.opening import OpenRun, RunRequest

_LATEST = ":latest"
"""What Ollama adds to a model that is named without a version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """The models that endpoints list, and by endpoint why there is no list."""

    models: frozenset[str]
    without: Mapping[str, str]

    @property
    def where(self) -> str:
        """Where else a model is not found, in words."""
        lists = "; ".join(
            f"endpoint {name} has no list: {why}" for name, why in self.without.items()
        )
        return lists or "the endpoint does not list it"


def accept_models(
    models: Iterable[str], request: RunRequest, api: Api, catalog: Catalog
) -> tuple[str, ...]:
    """Return those `models` that are not in the catalog, but which an endpoint or the user knows.

    Raises UsageError for one that nobody knows.
    """
    endpoints = () if api.sandbox else api.endpoints
    unknown = sorted(
        model for model in models if catalog.card(model) is None and not _is_set(model, endpoints)
    )
    if not unknown or request.options.allow_unknown_model:
        return tuple(unknown)
    listed = _listed(api)
    for model in unknown:
        meant = meant_model(model, catalog, listed.models)
        # of several endpoints none is asked for it: `find_serving` says what to set
        is_unserved = len(endpoints) > 1 and not is_claude(model)
        if model not in listed.models and (meant or not is_unserved):
            what = f"the model {model} is not known: it is not in the catalog, and {listed.where}"
            allow = f"--allow-unknown-model sends to {model} all the same"
            if is_unserved:
                allow = f'models = ["{model}"] in the settings of an endpoint means this one'
            _ask_about(model, meant, what, allow, request)
    return tuple(unknown)


def _is_set(model: str, endpoints: Iterable[Endpoint]) -> bool:
    """Return whether the settings say that an endpoint serves a model."""
    serving = map(serves_by_settings, endpoints)
    return any(serves.anything or model in serves.named for serves in serving)


def models_to_ask_about(opened: OpenRun, request: RunRequest) -> frozenset[str]:
    """Return the models of what is left that the run has not been asked about before.

    A run that has answers has been: its journal may be older than the question.
    """
    models = models_left(opened, request)
    is_used = opened.known_models is None and opened.checkpoint.tally.done and not opened.added
    return models - (opened.known_models or frozenset(opened.identity.models if is_used else ()))


def _ask_about(model: str, meant: str | None, what: str, allow: str, request: RunRequest) -> None:
    """Ask on the terminal whether a model is meant. Raises UsageError where it is not."""
    if not request.options.yes and sys.stdin.isatty() and sys.stderr.isatty():
        doubt = f"Did you mean {meant}? " if meant else ""
        if confirmed(f"{what[0].upper()}{what[1:]}. {doubt}Use {model} all the same?"):
            return
    is_option = model in {request.options.model, request.overrides.model}
    instead = f"did you mean {'--model ' * is_option}{meant}? " if meant else ""
    raise UsageError(f"{what}; nothing was sent", hint=f"{instead}{allow}")


def _listed(api: Api) -> Listed:
    """Ask all endpoints at once."""
    models: set[str] = set()
    without: dict[str, str] = {}
    for name, found in asyncio.run(model_lists(api.open_again())).items():
        if isinstance(found, str):
            without[name] = found
        else:
            models |= found | {each.removesuffix(_LATEST) for each in found}
    return Listed(models=frozenset(models), without=without)
