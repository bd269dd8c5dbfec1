"""What is in force for a run, for who looks at it without continuing it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from claude_batch.config.options import Options
from claude_batch.config.reading import read_settings
from claude_batch.config.settings import RunSettings

_TO_LOOK = ("max_cost", "prices")
"""Options of a run that matter to who looks at it."""


def options_to_look(run: RunSettings, environment: Mapping[str, str] = os.environ) -> Options:
    """Return the options in force that matter to who looks at a run.

    What only the run needs may be gone: a settings file, the password of a URL.
    """

    def kept(layer: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: value
            for name, value in layer.items()
            if name in _TO_LOOK or (name == "config" and _is_there(value))
        }

    run = RunSettings(
        flags=kept(run.flags),
        variables=kept(run.variables),
        adjusted=kept(run.adjusted),
        config=run.config if _is_there(run.config) else None,
    )
    return read_settings({}, environment, run=run).options


def _is_there(path: str | None) -> bool:
    return path is None or Path(path).is_file()
