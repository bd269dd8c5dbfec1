"""What the user changes while a process works on shards: it stays in force for the next ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from claude_batch.config.options import Options
from claude_batch.config.reading import read_changes
from claude_batch.core.model.adjustment import ADJUSTABLE
from claude_batch.core.model.snapshot import AdjustedView
from claude_batch.storage.folder.adjusted import FolderChange


@dataclass(slots=True, kw_only=True)
class Steering:
    """The changes so far, by option; since when the process is paused.

    `part_of` returns what of a bound on the cost of all shards is for the one at work. `on_change`
    is called after each change.
    """

    part_of: Callable[[float], float]
    on_change: Callable[[], None]
    views: dict[str, AdjustedView] = field(default_factory=dict)
    paused_at: float | None = None

    @property
    def changes(self) -> dict[str, Any]:
        """Options that were changed; None: unset."""
        return {name: each.value for name, each in self.views.items()}

    def keep(self, changes: Mapping[str, Any], *, at: float, paused_at: float | None) -> None:
        """Keep to what a shard was asked for."""
        self.paused_at = paused_at
        self._take(changes, at)
        self.on_change()

    def take(self, change: FolderChange) -> None:
        """Keep to what was asked for of all of the folder, unless something newer was.

        Of what another command was given, that is what can be changed while a run goes.
        """
        known, asked = self.views, {**change.flags, **change.changes}
        newer = {
            name: value
            for name, value in asked.items()
            if name in ADJUSTABLE and (name not in known or known[name].at < change.at)
        }
        self._take(newer, change.at)

    def _take(self, changes: Mapping[str, Any], at: float) -> None:
        for name, value in changes.items():
            self.views[name] = AdjustedView(name=name, value=value, at=at)

    def adjusted(self, options: Options) -> Options:
        """Return options with the changes; the bound on the cost is that of the whole."""
        defaults = Options()
        return replace(
            options,
            **{
                name: getattr(defaults, name) if value is None else value
                for name, value in read_changes(self.changes).items()
            },
        )
