"""Object storage by URL: s3://bucket/key, and what else obstore speaks (untested: gs, az, abfs).

Credentials, region and endpoint come from the variables that the provider's own tools read, such
as AWS_ACCESS_KEY_ID and AWS_ENDPOINT_URL. Every call has time limits, is tried again by the
library, and is waited for in a way that Ctrl-C can end. The library is an extra, imported when a
URL is used.

Source: https://developmentseed.org/obstore/latest/
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar
from urllib.parse import urlsplit

from claude_batch.errors import UsageError
from claude_batch.storage.objects.errors import (
    StoreError,
    StoreProblem,
    endpoint,
    error_of,
    no_credentials,
)
from claude_batch.storage.objects.locations import S3, Location

BLOCK = 8 << 20
"""Bytes of an object that are read at once: each is a request of its own, tried again by itself."""

PATIENCE_S = 10.0
"""Seconds for which a call is tried again, where the caller says nothing else."""

_CONNECT_S = 5
_SILENT_S = 20
"""An answer that has not begun, or does not go on, for this long in seconds is given up."""
_WHOLE_S = 300
"""One answer may take this long in seconds; a block has at least 28 KB/s then."""
_MOST_RETRIES = 20
_FALSE = {"", "0", "false", "no", "off"}

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """An object that is there."""

    key: str
    size: int
    etag: str | None
    modified_at: datetime


class ObjectStore:
    """A bucket. Every method raises StoreError where nothing else is said.

    `patience_s`: a call that the network or the server fails is tried again for so many seconds.
    `silent_s`: an answer that has not begun, or does not go on, for so long is given up.
    """

    def __init__(
        self, root: Location, *, patience_s: float = PATIENCE_S, silent_s: float = _SILENT_S
    ) -> None:
        self.root = Location(scheme=root.scheme, place=root.place, key="")
        self._store = _open(self.root, patience_s, silent_s)

    def url(self, key: str) -> str:
        """Return the URL of an object."""
        return f"{self.root.root}/{key}"

    def head(self, key: str) -> StoredObject | None:
        """Return what is known of an object; None where there is none, or no bucket."""
        try:
            return _object(self._ask(key, lambda: self._store.head(key)))
        except StoreError as error:
            if error.problem is StoreProblem.MISSING:
                return None
            if error.problem is StoreProblem.DENIED:  # the answer to HEAD does not say why
                self._ask(key, lambda: self._store.get(key))
            raise

    def list(self, folder: str = "", *, begin: str = "") -> Iterator[StoredObject]:
        """Yield the objects below a folder, as `in/`, whose keys begin so, in no particular order.

        S3 is asked for no more than it needs to be: its order is that of the keys.
        """
        options = {"chunk_size": 1000, "offset": begin or None}
        stream = self._ask(folder, lambda: self._store.list(folder or None, **options))
        while (found := self._ask(folder, lambda: next(stream, None))) is not None:
            for each in map(_object, found):
                if each.key.startswith(begin):
                    yield each
                elif begin and self.root.scheme.startswith(S3):
                    return

    def list_folder(self, folder: str = "") -> tuple[Sequence[str], Sequence[StoredObject]]:
        """Return the folders (`in/a/`) and the objects in a folder, not what is further below."""
        found = self._ask(folder, lambda: self._store.list_with_delimiter(folder or None))
        return [f"{each}/" for each in found["common_prefixes"]], [*map(_object, found["objects"])]

    def read(self, key: str) -> bytes | None:
        """Return what is in an object; None where there is none."""
        try:
            return self._ask(key, lambda: bytes(self._store.get(key).bytes()))
        except StoreError as error:
            if error.problem is StoreProblem.MISSING:
                return None
            raise

    def blocks(self, key: str, start: int, end: int, *, etag: str | None = None) -> Iterator[bytes]:
        """Yield bytes of an object, `start` up to, not including, `end`, in blocks.

        The next one is on its way while one is used: two are held at a time. With an `etag` the
        problem of an object that has another one is CHANGED.
        """
        edges = range(start, end, BLOCK)
        ahead = None
        for number, begin in enumerate(edges):
            block = ahead or self._begin_block(key, begin, end, etag)
            more = number + 1 < len(edges)
            ahead = self._begin_block(key, begin + BLOCK, end, etag) if more else None
            with self._translated(key):
                content = block.result()
            yield content

    def _begin_block(self, key: str, start: int, end: int, etag: str | None) -> Future[bytes]:
        options: dict[str, Any] = {"range": (start, min(start + BLOCK, end))}
        if etag is not None:
            options["if_match"] = etag
        return _begin(lambda: bytes(self._store.get(key, options=options).bytes()))

    def create(self, key: str, content: bytes) -> bool:
        """Create an object, whole; return False, and change nothing, if there is one."""
        try:
            self._ask(key, lambda: self._store.put(key, content, mode="create"))
        except StoreError as error:
            if error.problem is StoreProblem.EXISTS:
                return False
            raise
        return True

    def put(self, key: str, content: bytes) -> None:
        """Create an object, or replace it, whole, by one request.

        What uploads of several parts leave when they are cut off is paid for, and seen by nobody.
        """
        self._ask(key, lambda: self._store.put(key, content, use_multipart=False))

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; those that are gone already are no problem."""
        if keys:
            self._ask(keys[0], lambda: self._store.delete([*keys]))

    def _ask(self, key: str, function: Callable[[], T]) -> T:
        with self._translated(key):
            return _begin(function).result()

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        from obstore.exceptions import BaseError  # noqa: PLC0415  # an extra

        try:
            yield
        except (BaseError, FileNotFoundError, ValueError) as error:
            raise error_of(error, self.root, key) from error


def _begin(function: Callable[[], T]) -> Future[T]:
    """Have a thread call a function: the library's calls cannot be interrupted, waiting can.

    The thread does not keep the program from ending.
    """
    future: Future[T] = Future()

    def call() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # noqa: BLE001  # raised by result()
            future.set_exception(error)

    Thread(target=call, name="object-storage", daemon=True).start()
    return future


def _object(meta: Any) -> StoredObject:
    return StoredObject(
        key=meta["path"],
        size=meta["size"],
        etag=meta["e_tag"],
        modified_at=meta["last_modified"],
    )


def _open(root: Location, patience_s: float, silent_s: float) -> Any:
    """Return the library's store of a bucket. Raises UsageError."""
    try:
        from obstore.exceptions import BaseError  # noqa: PLC0415  # an extra
        from obstore.store import from_url  # noqa: PLC0415
    except ImportError as error:
        raise UsageError(
            f"{root.scheme}:// needs obstore, which is not installed",
            hint="pip install 'claude-batch[objects]'",
        ) from error
    client: dict[str, Any] = {
        "connect_timeout": timedelta(seconds=_CONNECT_S),
        "read_timeout": timedelta(seconds=silent_s),
        "timeout": timedelta(seconds=_WHOLE_S),
        "allow_http": os.environ.get("AWS_ALLOW_HTTP", "").lower() not in _FALSE,
    }
    if (certificates := _own_certificates()) is not None:
        client["root_certificate"] = certificates
    if root.scheme.startswith(S3):
        _refuse_endpoint()
        _refuse_no_credentials(root)
    retries = {"max_retries": _MOST_RETRIES, "retry_timeout": timedelta(seconds=patience_s)}
    try:
        return from_url(root.root, client_options=client, retry_config=retries)  # type: ignore[call-overload]  # of any provider
    except (BaseError, ValueError) as error:
        raise error_of(error, root, "") from error


def _own_certificates() -> bytes | None:
    """Return the certificates that the environment names besides those of the machine."""
    name = os.environ.get("AWS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE")
    if not name:
        return None
    try:
        return Path(name).read_bytes()
    except OSError as error:
        variable = "AWS_CA_BUNDLE" if os.environ.get("AWS_CA_BUNDLE") else "SSL_CERT_FILE"
        raise UsageError(
            f"{variable} names {name}, which cannot be read: {error.strerror}",
            hint=f"point {variable} at a file of PEM certificates, or unset it",
        ) from error


def _refuse_endpoint() -> None:
    """Refuse an address of a server that cannot be one: the library would crash."""
    found = endpoint()
    if found is None:
        return
    name, value = found
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError(
            f"{name} is no URL of a server", hint=f"for example {name}=https://s3.example.com"
        )
    if parts.scheme == "http" and os.environ.get("AWS_ALLOW_HTTP", "").lower() in _FALSE:
        raise UsageError(
            f"{name} begins with http://: data and signatures would go unencrypted",
            hint="use https://, or allow it with AWS_ALLOW_HTTP=true",
        )


_CREDENTIAL_VARIABLES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)


def _refuse_no_credentials(root: Location) -> None:
    """Refuse to look for the credentials of a cloud's machine where that is switched off."""
    skips = os.environ.get("AWS_SKIP_SIGNATURE", "").lower() not in _FALSE
    off = os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() not in _FALSE
    if off and not skips and not any(map(os.environ.get, _CREDENTIAL_VARIABLES)):
        raise no_credentials(root)
