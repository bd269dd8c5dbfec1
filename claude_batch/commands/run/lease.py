"""Opens the lease that a run shares its limits with other programs by, and says what it says."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from claude_batch.config.options import Options
from claude_batch.engine.live.sharing import SharingNotices
from claude_batch.errors import LeaseAwayError, UsageError
from claude_batch.ui.screen.screen import Screen

if TYPE_CHECKING:
    from claude_batch.storage.limit_lease import RedisLease


def open_lease(options: Options, results: Path) -> RedisLease | None:
    """Return the lease that the options ask for; None if they do not. Raises UsageError.

    With a sandbox in this process there is nobody to share with.
    """
    if options.shared_limits is None or options.uses_sandbox:
        return None
    from claude_batch.storage.limit_lease import RedisLease  # noqa: PLC0415  # loads redis

    return RedisLease(options.shared_limits, name=f"{results.name} on {socket.gethostname()}")


def refuse_lost_lease(options: Options, *, has_begun: bool) -> None:
    """Refuse a lease that cannot be reached: later that would only cost a warning.

    Raises UsageError before a run has begun, for it may be named wrongly; LeaseAwayError after
    that, when it is worth another attempt.
    """
    lease = open_lease(options, Path())
    if lease is None:
        return

    async def check() -> None:
        try:
            await lease.check()
        finally:
            await lease.close()

    try:
        asyncio.run(check())
    except LeaseAwayError as error:
        if has_begun:
            raise
        raise UsageError(error.message, hint=error.hint) from error


def sharing_notices(screen: Screen) -> SharingNotices:
    """Return what is said of a lease that is lost, and of lanes that cannot be shared."""
    return SharingNotices(
        lost=lambda: screen.notice(
            "--shared-limits: the Redis server does not answer; this program keeps its last share "
            "and asks again every second"
        ),
        silent=lambda lane: screen.notice(
            f"{lane}: replies report no limits, so they are not shared",
            "divide them yourself with --rpm, --itpm and --otpm",
        ),
    )
