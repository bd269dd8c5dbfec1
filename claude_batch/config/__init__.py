"""Settings: flag > environment (CLAUDE_BATCH_...) > claude-batch.toml > built-in.

A settings file never holds a key: it names the environment variable that does.
"""

from claude_batch.config.faults import variable
from claude_batch.config.reading import FILE_NAME, read_settings, read_toml, secret
from claude_batch.config.settings import (
    Auth,
    Endpoint,
    Mode,
    Options,
    Pool,
    Provider,
    Settings,
    seconds,
)

__all__ = [
    "FILE_NAME",
    "Auth",
    "Endpoint",
    "Mode",
    "Options",
    "Pool",
    "Provider",
    "Settings",
    "read_settings",
    "read_toml",
    "seconds",
    "secret",
    "variable",
]
