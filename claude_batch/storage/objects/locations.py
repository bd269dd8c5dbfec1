"""Where objects are, and which ones: URLs in their parts. Loads nothing."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass

from claude_batch.errors import CheckpointMismatchError, UsageError

S3 = "s3"
SCHEMES = (S3, "s3a", "gs", "az", "azure", "adl", "abfs", "abfss")
"""Schemes that are passed on to the library. Only s3 is tested."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """A URL, in its parts: `place` is a bucket, or a container. A folder's key ends with /."""

    scheme: str
    place: str
    key: str

    @property
    def root(self) -> str:
        """The URL of the bucket."""
        return f"{self.scheme}://{self.place}"

    @property
    def url(self) -> str:
        """The whole."""
        return f"{self.root}/{self.key}"

    @property
    def is_folder(self) -> bool:
        """Whether it is no object, by its form."""
        return not self.key or self.key.endswith("/")


def is_url(name: str) -> bool:
    """Return whether a name is a URL, of whatever scheme, or was meant to be one: s3:/x."""
    return re.match(rf"[A-Za-z][A-Za-z0-9+.-]*://|(?:{'|'.join(SCHEMES)}):/", name) is not None


def location_of(url: str) -> Location:
    """Return a URL in its parts. Raises UsageError for one that cannot be used."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, _, rest = url.partition(":/")
        raise UsageError(f"{url}: a / is missing", hint=f"write {scheme}://{rest}")
    scheme, (place, _, key) = scheme.lower(), rest.partition("/")
    if scheme in {"http", "https"}:
        raise UsageError(
            f"{url}: files are not read over {scheme}",
            hint=f"get it first: curl -LO {shlex.quote(url)}",
        )
    if scheme not in SCHEMES:
        raise UsageError(f"{url}: unknown scheme {scheme}://", hint="write s3://BUCKET/KEY")
    if not place:
        raise UsageError(f"{url}: names no bucket", hint=f"write {scheme}://BUCKET/KEY")
    return Location(scheme=scheme, place=place, key=key)


Progress = Callable[[int, int], None]
"""Is called with the bytes that have been copied, and how many they will be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """What an object was when it was found: only that may be read.

    `size`, in bytes, is None where only a part of it is read; `etag` where there is none.
    """

    size: int | None
    etag: str | None

    def is_like(self, other: Pinned) -> bool:
        """Return whether both may be the same object, unchanged."""
        if self.etag is not None and other.etag is not None:
            return self.etag == other.etag
        return self.size is None or other.size is None or self.size == other.size


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """How an object is to be copied: `pinned`, where it has to be a certain one."""

    pinned: Pinned | None = None
    progress: Progress | None = None


ANY = Fetch()
"""Whatever object is there, and nobody is told how far it is."""


def has_changed(source: str) -> CheckpointMismatchError:
    """Return the error that a source is not what it was."""
    return CheckpointMismatchError(
        f"{source}: has changed since the run folder was made",
        hint="put the old file back and run the same command again (with --skip-invalid where bad "
        "rows were fixed: those can be a run of their own); for the new one make another folder: "
        "--out DIR/",
    )
