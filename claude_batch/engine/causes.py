"""What a group of exceptions is about."""

from __future__ import annotations

from claude_batch.errors import ClaudeBatchError


def first_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the exception a group is about: ours before a bug's, the first before the rest."""
    causes = [
        first_cause(cause) if isinstance(cause, BaseExceptionGroup) else cause
        for cause in group.exceptions
    ]
    ours = [cause for cause in causes if isinstance(cause, ClaudeBatchError)]
    return (ours or causes)[0]
