"""A thread for what may block: like asyncio.to_thread, but nobody has to wait for it at the end.

A disk that hangs must keep neither the event loop nor the process from ending; the threads of an
executor would.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


async def in_daemon(work: Callable[[], T]) -> T:
    """Return what `work` returns, or raise what it raises, from a thread of its own."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001  # whoever waits for it is told
            tell(_failed, error)
        else:
            tell(_succeeded, result)

    def tell(how: Callable[[asyncio.Future[T], Any], None], what: object) -> None:
        with suppress(RuntimeError):  # the loop has ended: nobody waits any more
            loop.call_soon_threadsafe(how, done, what)

    threading.Thread(target=run, name="storage", daemon=True).start()
    return await done


def _succeeded(done: asyncio.Future[T], result: T) -> None:
    if not done.done():
        done.set_result(result)


def _failed(done: asyncio.Future[T], error: BaseException) -> None:
    if not done.done():
        done.set_exception(error)
