"""The composition root: from what the user asked to a wired run. Concrete classes are named here.

Imports that cost (the SDK, aiohttp) happen inside the functions that need them.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from claude_batch import __version__
from claude_batch.config import Settings, secret
from claude_batch.core.limits import NO_LIMITS, Limits
from claude_batch.core.model import ResultType
from claude_batch.core.progress import Progress, RunFacts, Tally, view
from claude_batch.core.scheduler import Scheduler, SchedulerSettings, Stop, StopKind
from claude_batch.core.snapshot import Phase, Snapshot
from claude_batch.errors import RunStoppedError, UsageError
