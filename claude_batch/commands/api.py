"""The API a run talks to: the endpoints of the settings, or the sandbox, opened when needed."""

from __future__ import annotations

import gc
import os
import resource
import sys
import threading
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from claude_batch.config.options import Options
from claude_batch.config.reading import secret
from claude_batch.config.settings import Endpoint
from claude_batch.errors import SettingsError

if TYPE_CHECKING:
    from claude_batch.sandbox.scenario import Scenario
    from claude_batch.transport.clients import EndpointSettings
    from claude_batch.transport.opening import EndpointTransport

MOST_CONCURRENT = 4_000
"""Requests in flight at most, where --concurrency does not say otherwise."""

SPARE_FILES = 200
"""Open files reserved for everything but connections."""

_TRANSPORT, _SDK = "claude_batch.transport.opening", "claude_batch.transport.sdk"
_YOUNG_OBJECTS = 10_000
"""Allocations between two collections. A request in flight is about a hundred objects: with
Python's default of 700 each would be visited many times."""


@dataclass(slots=True, kw_only=True)
class Api:
    """A context: on entry the transport begins to load in a thread, while the prompts are checked.

    `open` may then be called; it raises what is wrong with an endpoint before anything is sent.
    """

    options: Options
    endpoints: tuple[Endpoint, ...]
    sandbox: bool
    scenario: Path | None
    _stack: ExitStack = field(default_factory=ExitStack)
    _loading: threading.Thread | None = None
    _transports: dict[str, EndpointTransport] = field(default_factory=dict)
    _opened_with: tuple[EndpointSettings, ...] = ()

    def __enter__(self) -> Self:
        self._loading = threading.Thread(target=self._load, name="import", daemon=True)
        self._loading.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def transports(self) -> Mapping[str, EndpointTransport]:
        """The opened endpoints by name, in the order of the settings."""
        if not self._transports:
            raise RuntimeError("the API has not been opened")
        return self._transports

    @property
    def transport(self) -> EndpointTransport:
        """The first of the opened endpoints."""
        return next(iter(self.transports.values()))

    @property
    def concurrency(self) -> int:
        """Attempts that may be in flight: the user's bound, or what the machine allows."""
        return self.at_once(self.options.concurrency)

    def at_once(self, wanted: int | None) -> int:
        """Return how many attempts may be in flight where the user wants this bound."""
        wanted = wanted or MOST_CONCURRENT
        return min(wanted, most_connections(wanted, shared=self.sandbox))

    def open(self) -> None:
        """Make the endpoints ready. Raises CredentialsMissingError, SettingsError."""
        if self._transports:
            return
        if self._loading is not None:
            self._loading.join()
        from claude_batch.transport.opening import open_transport  # noqa: PLC0415  # aiohttp: 0.2 s

        self._opened_with = tuple(self._sandboxed() if self.sandbox else self._settings())
        self._transports = {
            settings.name: open_transport(settings) for settings in self._opened_with
        }

    def open_again(self) -> dict[str, EndpointTransport]:
        """Return the opened endpoints with connections of their own, for another event loop."""
        from claude_batch.transport.opening import open_transport  # noqa: PLC0415  # as above

        return {each.name: open_transport(each) for each in self._opened_with}

    async def close(self) -> None:
        """Close all connections."""
        for transport in self._transports.values():
            await transport.close()

    def _load(self) -> None:
        """Load the transport, and the SDK if an endpoint needs it.

        The garbage collector leaves what is loaded alone from then on: thousands of classes are no
        garbage. Looking through them took a fifth of the time to load, and with the SDK a third of
        the processor time of each request.
        """
        if _TRANSPORT in sys.modules:
            return
        gc.disable()
        try:
            from claude_batch.transport.opening import needs_sdk  # noqa: PLC0415  # as above

            with suppress(SettingsError):  # `open` will raise it where it can be reported
                if not self.sandbox and any(map(needs_sdk, self._settings())):
                    import_module(_SDK)
            gc.freeze()
            gc.set_threshold(_YOUNG_OBJECTS)
        finally:
            gc.enable()

    def _sandboxed(self) -> list[EndpointSettings]:
        """Start the sandbox, and return where it is."""
        from claude_batch.sandbox.in_process import running  # noqa: PLC0415  # aiohttp
        from claude_batch.transport.clients import EndpointSettings  # noqa: PLC0415  # as above

        url = self._stack.enter_context(running(read_scenario(self.scenario)))
        return [EndpointSettings(name="sandbox", base_url=url, api_key="sandbox-key")]

    def _settings(self) -> list[EndpointSettings]:
        from claude_batch.transport.clients import EndpointSettings  # noqa: PLC0415  # as above

        environment = os.environ
        return [
            EndpointSettings(
                name=endpoint.name,
                provider=endpoint.provider,
                base_url=endpoint.base_url,
                api_key=secret(endpoint.api_key_env, environment),
                auth_token=secret(endpoint.auth_token_env, environment),
                auth=endpoint.auth,
                models=endpoint.models,
                headers={
                    name: secret(variable, environment) or ""
                    for name, variable in endpoint.headers_env.items()
                },
            )
            for endpoint in self.endpoints
        ]


def read_scenario(path: Path | None) -> Scenario:
    """Return the scenario in a file, or the calm one. Raises SettingsError."""
    from claude_batch.sandbox.scenario import load_scenario  # noqa: PLC0415  # only with a sandbox
    from claude_batch.sandbox.scenario_reading import ScenarioError  # noqa: PLC0415  # only with a sandbox

    try:
        return load_scenario(path)
    except ScenarioError as error:
        raise SettingsError(
            str(error), hint="samples/scenarios/ has scenarios that work"
        ) from error


def most_connections(wanted: int, *, shared: bool) -> int:
    """Raise the limit of open files for `wanted` connections; return how many there may be.

    `shared`: both ends of each are in this process, and take a file each.
    """
    files_each = 2 if shared else 1
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = wanted * files_each + SPARE_FILES
    if soft < files:
        soft = files if hard == resource.RLIM_INFINITY else min(files, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(16, (soft - SPARE_FILES) // files_each)
