"""What an error of the API means: of a live reply, of a stream, or within the results of a batch.

Read in this order: what the error code says, what the message says, what the error type says, and
last the status, which only a live reply has.
Sources: docs/claude-api.md, "Errors" and "Other causes of 429".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from claude_batch.core.model.requests import FailureKind

BY_CODE = {
    "ramp_limit_exceeded": FailureKind.RAMP_LIMITED,
    "enforced_spend_limit_reached": FailureKind.RUN_REFUSED,
    "contract_spend_limit_reached": FailureKind.RUN_REFUSED,
    "linked_organization_spend_limit_reached": FailureKind.RUN_REFUSED,
    "linked_organization_billing_unavailable": FailureKind.RUN_REFUSED,
    "organization_on_hold": FailureKind.RUN_REFUSED,
    "cmek_key_disabled": FailureKind.RUN_REFUSED,
    "cmek_key_network_blocked": FailureKind.RUN_REFUSED,
    "request_body_timeout": FailureKind.SERVER_ERROR,  # a 400, though only the line was slow
    "insufficient_quota": FailureKind.RUN_REFUSED,  # OpenAI's words, which relays repeat
    "billing_hard_limit_reached": FailureKind.RUN_REFUSED,
    "invalid_api_key": FailureKind.ENDPOINT_REJECTED,
}

BY_MESSAGE = (
    (
        re.compile(r"you have reached your specified .*usage limits", re.IGNORECASE),
        FailureKind.RUN_REFUSED,
    ),
    (re.compile(r"credit balance is too low", re.IGNORECASE), FailureKind.RUN_REFUSED),
)

BY_TYPE = {
    "authentication_error": FailureKind.ENDPOINT_REJECTED,
    "billing_error": FailureKind.RUN_REFUSED,
    "permission_error": FailureKind.MODEL_FORBIDDEN,
    "rate_limit_error": FailureKind.RATE_LIMITED,
    "overloaded_error": FailureKind.OVERLOADED,
    "timeout_error": FailureKind.SERVER_ERROR,
    "api_error": FailureKind.SERVER_ERROR,
    "request_too_large": FailureKind.REQUEST_REJECTED,
}
"""Types that say more than a status that does not fit them (an error event has no status at all).
invalid_request_error and not_found_error are not among them: a relay's 500 of that type is no
verdict on the request."""

_FINAL_WITHOUT_STATUS = {"invalid_request_error", "not_found_error"}
"""Where no status contradicts them, in a stream or the results of a batch, they are."""

BY_STATUS = {
    401: FailureKind.ENDPOINT_REJECTED,
    402: FailureKind.RUN_REFUSED,
    403: FailureKind.MODEL_FORBIDDEN,
    408: FailureKind.SERVER_ERROR,
    409: FailureKind.SERVER_ERROR,
    429: FailureKind.RATE_LIMITED,
    499: FailureKind.SERVER_ERROR,  # the client has closed the connection, says a proxy
    503: FailureKind.OVERLOADED,
    529: FailureKind.OVERLOADED,
}
"""Any other status below 500 rejects the request; any other from 500 on is a server error."""

_BUSY = (429, 503, 529)
"""Statuses that say more than the type api_error, which relays give to everything."""

_FIRST_SERVER_STATUS = 500
_LONGEST_TYPE = 100
_LOOKED_AT = 10_000
"""Characters of a message that are searched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorBody:
    """What an error's body says, as far as it has the API's shape."""

    type: str | None = None
    code: str | None = None
    message: str | None = None

    @classmethod
    def of(cls, body: object) -> Self:
        """Read the JSON of an error."""
        error = body.get("error") if isinstance(body, dict) else None
        if not isinstance(error, dict):
            return cls(message=_str(error))
        details = error.get("details")
        code = details.get("error_code") if isinstance(details, dict) else error.get("code")
        kind = _str(error.get("type"))
        if kind is not None and len(kind) > _LONGEST_TYPE:
            kind = None
        return cls(type=kind, code=_str(code), message=_str(error.get("message")))

    def kind(self, status: int | None = None) -> FailureKind:
        """Return what it means, for an answer with that status, if it had one."""
        if self.code in BY_CODE:
            return BY_CODE[self.code]
        for pattern, kind in BY_MESSAGE:
            if self.message and pattern.search(self.message[:_LOOKED_AT]):
                return kind
        if self.type == "api_error" and status in _BUSY:
            return BY_STATUS[status]
        if self.type in BY_TYPE:
            return BY_TYPE[self.type]
        if status is None and self.type in _FINAL_WITHOUT_STATUS:
            return FailureKind.REQUEST_REJECTED
        if status is None or status >= _FIRST_SERVER_STATUS:
            return BY_STATUS.get(status or 0, FailureKind.SERVER_ERROR)
        return BY_STATUS.get(status, FailureKind.REQUEST_REJECTED)


def _str(value: object) -> str | None:
    return value if isinstance(value, str) else None
