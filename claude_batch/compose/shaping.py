"""What shapes requests and their price beside the options: [[route]] rules and the price table."""

from __future__ import annotations

from claude_batch.config import Options, Settings
from claude_batch.core.catalog import BUNDLED, DEFAULT_MODEL, Catalog
from claude_batch.core.routing import Route, parse_routes
from claude_batch.storage.catalog_file import read_prices
from claude_batch.storage.prompt_routing import Router


def catalog_for(options: Options) -> Catalog:
    """Return the catalog that came with the program, --prices over it. Raises SettingsError."""
    return BUNDLED if options.prices is None else read_prices(options.prices)


def rules_of(settings: Settings) -> tuple[Route, ...]:
    """Return the [[route]] rules. Raises SettingsError."""
    return parse_routes([route.model_dump(exclude_unset=True) for route in settings.routes])


def router_for(settings: Settings) -> Router | None:
    """Return what redirects the lines of one pass; None without rules. Raises SettingsError."""
    rules = rules_of(settings)
    if not rules:
        return None
    return Router(rules=rules, default_model=settings.options.model or DEFAULT_MODEL)


def models_of(settings: Settings) -> tuple[str, ...]:
    """Return the models that the settings name: the default one first, then those of routes."""
    routed = [route.model for route in settings.routes if route.model is not None]
    return tuple(dict.fromkeys([settings.options.model or DEFAULT_MODEL, *routed]))
