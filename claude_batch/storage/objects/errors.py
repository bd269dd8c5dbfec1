"""Errors of object storage as ours: what is wrong, and what to set.

Sources: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html; the texts are those
of the library (object_store), which has few classes of errors.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from claude_batch.errors import UsageError
from claude_batch.storage.objects.locations import S3, Location


class StoreProblem(StrEnum):
    """Why a call came to nothing."""

    MISSING = "missing"
    """No object has this key; or there is no such bucket, which HEAD does not say."""
    NO_BUCKET = "no_bucket"
    EXISTS = "exists"
    CHANGED = "changed"
    NO_CREDENTIALS = "no_credentials"
    DENIED = "denied"
    UNREACHABLE = "unreachable"
    TLS = "tls"
    OTHER = "other"


class StoreError(UsageError):
    """Object storage does not do what it was asked for; `problem` says why."""

    def __init__(self, message: str, *, hint: str, problem: StoreProblem) -> None:
        super().__init__(message, hint=hint)
        self.problem = problem


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """What an error means that has this class, status or code, or in whose text `pattern` is."""

    problem: StoreProblem
    what: str
    hint: str
    classes: tuple[str, ...] = ()
    status: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    pattern: str | None = None


_CREDENTIALS_HINT = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; those of a profile: "
    'eval "$(aws configure export-credentials --format env)"; for a public bucket: '
    "AWS_SKIP_SIGNATURE=true"
)
_OTHER_PROVIDER_HINT = "set the variables that obstore reads for this provider"

_ROWS = (
    _Row(
        problem=StoreProblem.NO_CREDENTIALS,
        what="no credentials found",
        hint=_CREDENTIALS_HINT,
        pattern=r"169\.254\.|/latest/(api/token|meta-data)|computeMetadata|Missing\w*(Key|Account)|"
        r"Missing (Secret)?Access",
    ),
    _Row(
        problem=StoreProblem.NO_BUCKET,
        what="there is no bucket {place}",
        hint="look at its name; AWS_ENDPOINT_URL names the server, if it is not Amazon's",
        codes=("NoSuchBucket",),
    ),
    _Row(
        problem=StoreProblem.MISSING,
        what="no such object",
        hint="look at its name",
        classes=("FileNotFoundError",),
    ),
    _Row(
        problem=StoreProblem.OTHER,
        what="such a key cannot be used",
        hint="copy the object to a key without empty parts (//), . and ..",
        pattern="Could not parse path",
    ),
    _Row(
        problem=StoreProblem.EXISTS,
        what="exists already",
        hint="name another one",
        classes=("AlreadyExistsError",),
    ),
    _Row(
        problem=StoreProblem.CHANGED,
        what="has changed",
        hint="run the command again",
        classes=("PreconditionError", "NotModifiedError"),
    ),
    _Row(
        problem=StoreProblem.DENIED,
        what="access denied ({code})",
        hint="AWS_ACCESS_KEY_ID names no key that the server knows",
        codes=("InvalidAccessKeyId",),
    ),
    _Row(
        problem=StoreProblem.DENIED,
        what="access denied ({code})",
        hint="AWS_SECRET_ACCESS_KEY does not belong to AWS_ACCESS_KEY_ID",
        codes=("SignatureDoesNotMatch",),
    ),
    _Row(
        problem=StoreProblem.DENIED,
        what="access denied ({code})",
        hint="get new ones: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN",
        codes=("ExpiredToken", "InvalidToken"),
    ),
    _Row(
        problem=StoreProblem.DENIED,
        what="access denied ({code})",
        hint="the clock of this machine is wrong: set it",
        codes=("RequestTimeTooSkewed",),
    ),
    _Row(
        problem=StoreProblem.DENIED,
        what="access denied ({code})",
        hint="the key needs permission to list and read (s3:ListBucket, s3:GetObject) and, for "
        "results, to write and remove (s3:PutObject, s3:DeleteObject)",
        classes=("PermissionDeniedError", "UnauthenticatedError"),
        status=("401", "403"),
    ),
    _Row(
        problem=StoreProblem.OTHER,
        what="the bucket is in another region",
        hint="set AWS_REGION to the region of the bucket",
        status=("301", "302", "307"),
        codes=("PermanentRedirect", "AuthorizationHeaderMalformed"),
        pattern=r"redirect without LOCATION",
    ),
    _Row(
        problem=StoreProblem.OTHER,
        what="its server is asked over http://, which is not allowed",
        hint="use https://, or allow it with AWS_ALLOW_HTTP=true",
        pattern="BadScheme",
    ),
    _Row(
        problem=StoreProblem.TLS,
        what="the certificate of the server cannot be verified",
        hint="where a company's own authority has signed it, set AWS_CA_BUNDLE to a file with that "
        "authority's certificate (PEM)",
        pattern=r"InvalidCertificate|UnknownIssuer|invalid peer certificate",
    ),
    _Row(
        problem=StoreProblem.TLS,
        what="the server does not speak TLS",
        hint="write http:// in AWS_ENDPOINT_URL, and set AWS_ALLOW_HTTP=true",
        pattern=r"InvalidContentType|InvalidMessage",
    ),
    _Row(
        problem=StoreProblem.UNREACHABLE,
        what="the server cannot be reached: {why}",
        hint="{server}; check that, AWS_REGION, the network and the proxy (HTTPS_PROXY, NO_PROXY)",
        status=("500", "502", "503", "504"),
        pattern="HttpError",
    ),
)
"""From the most to the least specific: the first that fits says it."""

_CODE = re.compile(r"<Code>([^<]{1,80})</Code>")
_XML_MESSAGE = re.compile(r"<Message>([^<]{1,200})</Message>")
_STATUS = re.compile(r"status code: (\d{3})")
_OS_ERROR = re.compile(r'kind: \w+,\s+message: "([^"]+)"')
_DNS_ERROR = re.compile(r'"dns error",.*?error: "([^"]+)"', re.DOTALL)
_MOST_TEXT = 200


def error_of(error: Exception, root: Location, key: str) -> StoreError:
    """Return an error of the library as ours."""
    text, url = str(error), f"{root.root}/{key}"
    code, status = _found(_CODE, text), _found(_STATUS, text)
    names = {each.__name__ for each in type(error).__mro__}
    for row in _ROWS:
        if (
            names.intersection(row.classes)
            or status in row.status
            or code in row.codes
            or (row.pattern is not None and re.search(row.pattern, text))
        ):
            facts = {
                "place": root.place,
                "code": code or f"status {status}",
                "why": _why(text, status),
                "server": _server(),
            }
            hint = row.hint
            if hint is _CREDENTIALS_HINT and not root.scheme.startswith(S3):
                hint = _OTHER_PROVIDER_HINT
            what = f"{url}: {row.what}".format(**facts) if "{" in row.what else f"{url}: {row.what}"
            return StoreError(what, hint=hint.format(**facts), problem=row.problem)
    what = text.split("\n", 1)[0].rpartition(" - ")[2][:_MOST_TEXT].rstrip(" :.")
    if code:
        what = f"{code}: {_found(_XML_MESSAGE, text)}"
    return StoreError(
        f"{url}: {what}",
        hint="run the same command again; if it stays, look at the server",
        problem=StoreProblem.OTHER,
    )


def no_credentials(root: Location) -> StoreError:
    """Return the error that there are no credentials."""
    return StoreError(
        f"{root.url}: {_ROWS[0].what}", hint=_CREDENTIALS_HINT, problem=_ROWS[0].problem
    )


def _found(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found[1] if found else ""


def _why(text: str, status: str) -> str:
    """Return why a server cannot be reached."""
    if status:
        return f"it answers {status}"
    if "Timeout" in text:
        return "no answer in time"
    why = _found(_DNS_ERROR, text) or _found(_OS_ERROR, text) or "the connection broke"
    return f"{why[0].lower()}{why[1:]}"


ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


def endpoint() -> tuple[str, str] | None:
    """Return which variable names the server, and its value; None for the provider's own."""
    for name in ENDPOINT_VARIABLES:
        if value := os.environ.get(name):
            return name, value
    return None


def _server() -> str:
    found = endpoint()
    if found is None:
        return "AWS_ENDPOINT_URL names no other server"
    name, value = found
    parts = urlsplit(value)
    return f"{name} names {parts.scheme}://{parts.netloc.rpartition('@')[2]}"
