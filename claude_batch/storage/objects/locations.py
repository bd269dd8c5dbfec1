"""Where objects are: URLs in their parts."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from claude_batch.errors import UsageError

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
    """Return whether a name is a URL, of whatever scheme."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", name) is not None


def location_of(url: str) -> Location:
    """Return a URL in its parts. Raises UsageError for one that cannot be used."""
    scheme, _, rest = url.partition("://")
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
