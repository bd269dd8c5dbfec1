"""Which models an endpoint of several is asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

_CLAUDE = "claude"


def is_claude(model: str) -> bool:
    """Return whether an id names a Claude, in any platform's spelling."""
    return _CLAUDE in model.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Serves:
    """The models an endpoint is asked for: `named` by its settings, or `listed` by itself.

    `claude`: also all that name a Claude. `anything`: whatever a request names.
    """

    named: frozenset[str] = frozenset()
    listed: frozenset[str] = frozenset()
    claude: bool = False
    anything: bool = False

    def __call__(self, model: str) -> bool:
        """Return whether requests for `model` go there.

        A list alone makes nobody serve a Claude: local servers list what they pretend to be.
        """
        if self.anything or model in self.named:
            return True
        return self.claude if is_claude(model) else model in self.listed

    @property
    def asks(self) -> bool:
        """Whether only the endpoint's own list can say which other models it serves."""
        return not (self.anything or self.named)

    def with_list(self, models: Iterable[str]) -> Serves:
        """Return it with the models that the endpoint lists."""
        return replace(self, listed=frozenset(models))


def unserved(models: Collection[str], serving: Mapping[str, Serves]) -> list[str]:
    """Return the models that no endpoint is asked for."""
    return sorted(
        model for model in models if not any(serves(model) for serves in serving.values())
    )


def idle(models: Collection[str], serving: Mapping[str, Serves]) -> list[str]:
    """Return the endpoints that are asked for none of the models."""
    return [name for name, serves in serving.items() if not any(map(serves, models))]
