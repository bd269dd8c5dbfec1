"""Calls of a function on the workers of a Ray cluster, which is joined, or started here.

Ray places calls, and says when a worker is lost. It repeats nothing: that is for the caller.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Generic, TypeVar

from claude_batch.errors import UsageError

K = TypeVar("K")
V = TypeVar("V")

ADDRESS = "RAY_ADDRESS"
"""The variable that names a cluster to join."""

_OWN_NODE = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # on Linux, too: its servers listen on 127.0.0.1 only
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # others on this machine must not place calls there: they would have our environment
    "RAY_AUTH_MODE": "token",
}
_TOKEN = "RAY_AUTH_TOKEN"  # noqa: S105  # a name

_STORE_BYTES = 78_643_200
"""The smallest object store that Ray accepts: all that travels are numbers and messages."""

_CONNECTS_WITHIN_S = 10.0
"""How long it may take until a cluster takes a connection."""

_FOLDER = "claude-batch-ray-"
_FOLDER_NAME = re.compile(rf"{_FOLDER}(\d+)-.*")

_LONGEST_PLACE = 24
"""Characters of a temporary folder: below it are sockets, whose paths must not exceed 107."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEnd(Generic[K, V]):
    """A call that has ended: what it returned, or why it did not (`trouble`)."""

    key: K
    value: V | None
    trouble: str = ""


@dataclass(slots=True, kw_only=True)
class Calls(Generic[K, V]):
    """Calls of one function. `cpus` is how many run at once; each takes one."""

    cpus: int
    address: str | None
    _ray: Any
    _remote: Any
    _keys: dict[Any, K] = field(default_factory=dict)

    def place(self, key: K, argument: object) -> None:
        """Call the function on a worker, as soon as one is free."""
        self._keys[self._remote.remote(argument)] = key

    def ended(self, timeout_s: float) -> list[CallEnd[K, V]]:
        """Return the calls that have ended; wait for the first up to `timeout_s`."""
        if not self._keys:
            return []
        references = list(self._keys)
        ready, _ = self._ray.wait(references, num_returns=len(references), timeout=0)
        if not ready:
            ready, _ = self._ray.wait(references, num_returns=1, timeout=timeout_s)
        return [self._end(each) for each in ready]

    def _end(self, reference: Any) -> CallEnd[K, V]:
        key = self._keys.pop(reference)
        errors = self._ray.exceptions
        try:
            return CallEnd(key=key, value=self._ray.get(reference))
        except errors.TaskCancelledError:
            return CallEnd(key=key, value=None, trouble="it was canceled before it began")
        except errors.RayTaskError as error:  # the function, or what it imports
            return CallEnd(key=key, value=None, trouble=f"its worker failed: {error.cause!r}")
        except errors.RayError as error:
            why = _first(error).partition(". ")[0]  # then come names of Ray's log files
            return CallEnd(key=key, value=None, trouble=f"its worker was lost: {why}")

    def stop(self, key: K) -> None:
        """Ask a call to stop: its process gets Ctrl-C's signal."""
        for reference in [each for each, its in self._keys.items() if its == key]:
            with suppress(self._ray.exceptions.RayError, ValueError):
                self._ray.cancel(reference, force=False, recursive=False)

    @property
    def is_lost(self) -> bool:
        """Whether the cluster has no node that lives."""
        with suppress(self._ray.exceptions.RayError):
            return not any(node["Alive"] for node in self._ray.nodes())
        return True


@contextmanager
def calls_of(function: Callable[[Any], V], *, at_once: int | None) -> Iterator[Calls[Any, V]]:
    """Join the cluster that RAY_ADDRESS names, or start a node here; leave it at the end.

    A node here is asked for `at_once` CPUs (None: what the machine has). Raises UsageError.
    """
    with ExitStack() as leaving:
        address = os.environ.get(ADDRESS) or None
        if address is None:
            os.environ.update(_OWN_NODE)
            os.environ.setdefault(_TOKEN, secrets.token_hex(32))
        ray = _import_ray()
        null = leaving.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
        leaving.enter_context(redirect_stdout(null))  # where Ray reports lost workers
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "CRITICAL"}
        try:
            if address is None:
                folder = leaving.enter_context(_own_folder())
                leaving.callback(ray.shutdown)
                ray.init(
                    address="local",
                    num_cpus=at_once,
                    include_dashboard=False,
                    object_store_memory=_STORE_BYTES,
                    _temp_dir=folder,
                    **quiet,
                )
            else:
                _refuse_silent(address)
                leaving.callback(ray.shutdown)
                ray.init(address=address, **quiet)
        except (RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
            raise _refused(address, error) from error
        yield Calls(
            cpus=max(1, int(ray.cluster_resources().get("CPU", 1))),
            address=address,
            _ray=ray,
            _remote=ray.remote(num_cpus=1, max_retries=0)(function),
        )


def refuse_no_cluster() -> None:
    """Refuse to do anything for a cluster that cannot be joined. Raises UsageError."""
    if find_spec("ray") is None:
        raise _not_installed()
    if address := os.environ.get(ADDRESS):
        _refuse_silent(address)


def _import_ray() -> Any:
    try:
        import ray  # noqa: PLC0415  # an extra; loading it takes a second
        import ray.exceptions  # noqa: PLC0415  # as above
    except ImportError as error:
        raise _not_installed() from error
    return ray


def _not_installed() -> UsageError:
    return UsageError(
        "--on ray needs Ray, which is not installed", hint="pip install 'claude-batch[ray]'"
    )


def _refused(address: str | None, error: Exception) -> UsageError:
    if address is None:
        return UsageError(
            f"Ray could not start a node here: {_first(error)}",
            hint="leave out --on ray to work on one shard after another; or join a cluster: "
            f"{ADDRESS}=HOST:PORT",
        )
    return UsageError(
        f"{ADDRESS}={address}: no Ray cluster answers there: {_first(error)}",
        hint="look whether it runs, has the same versions of Ray and Python, and wants a token "
        f"(export RAY_AUTH_MODE=token); without {ADDRESS} a node is started here",
    )


def _refuse_silent(address: str) -> None:
    """Refuse an address at which nothing listens: Ray would try it for minutes."""
    host, _, port = address.rpartition(":")
    if port.isdecimal() and "/" not in host:
        try:
            socket.create_connection((host.strip("[]"), int(port)), _CONNECTS_WITHIN_S).close()
        except OSError as error:
            raise _refused(address, error) from error


def _first(error: BaseException) -> str:
    """Return the first line of what an error says."""
    lines = str(getattr(error, "strerror", None) or error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__


@contextmanager
def _own_folder() -> Iterator[str]:
    """Make a folder for the files of a node of our own, and remove it; those of the dead, too."""
    place = Path(tempfile.gettempdir())
    if len(str(place)) > _LONGEST_PLACE:
        place = Path("/tmp")  # noqa: S108  # mkdtemp makes it ours
    for path in place.glob(f"{_FOLDER}*"):
        found = _FOLDER_NAME.fullmatch(path.name)
        if found and _is_gone(int(found[1])):
            shutil.rmtree(path, ignore_errors=True)
    folder = tempfile.mkdtemp(prefix=f"{_FOLDER}{os.getpid()}-", dir=place)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
