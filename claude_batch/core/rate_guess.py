"""A launch rate learned from refusals alone, where no header tells a limit.

When a 429 has been waited out the server's bucket is about empty, and so it is when the next has
been: what it has taken in between is what has dripped in, whatever it counts. We launch a little
slower than that, and grow until it refuses.

A relay may also refuse at random, and then going slower does not help. So nothing is guessed before
refusals are common; and after guesses that the next refusal contradicted, nothing is for a while:
429s are only waited out.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from claude_batch.core.pace import Pace

_BELOW = 0.98
_LONG_S = 10.0
"""What shorter spans tell is believed only where it makes us slower."""

_CUT = 0.9
"""How much slower a refusal makes us that tells no rate."""

_IDLE_S = 5.0
_IDLE_LAUNCHES = 3
"""After a pause of so long, or so many launches left out, the bucket may have run over."""

_GROWS_PER_S = 0.001
_GROWS_MOST_PER_S = 0.05
_DOUBLES_IN_S = 10.0
"""The longer nothing is refused, the more likely the limit is higher than we believe."""


_RECENT = 100
_FEW = 100
_COMMON = 0.12
"""The share of recent attempts that must have been refused before a rate is guessed at all."""

_CONTRADICTED = 0.8
_MOST_CONTRADICTIONS = 3
_ENOUGH_LAUNCHES = 5
"""A refusal below this share of what was believed to be safe contradicts it, if so many launches
lie before it; after so many in a row, what refuses is no limit per minute."""

_AT_RANDOM_S = 60.0
"""How long refusals then count as random."""


@dataclass(slots=True)
class _Span:
    """From one 429 waited out to the next, and how long that was.

    What was taken meanwhile are the launches that were not refused; or, where the server counts
    what it writes, the answers.
    """

    since: float
    launched: int = 0
    answered: int = 0
    seconds: float = math.inf


@dataclass(slots=True)
class RateGuess:
    """Requests per second that a lane may launch; unknown before the second refusal."""

    per_s: float | None = None
    _span: _Span = field(default_factory=lambda: _Span(-math.inf))
    _last: _Span | None = None
    _grown_at: float = 0.0
    _launched_at: float = 0.0
    _refused_at: float = -math.inf
    _recent: deque[bool] = field(default_factory=lambda: deque(maxlen=_RECENT))
    _contradictions: int = 0
    _random_until: float = -math.inf
    _pace: Pace = field(default_factory=Pace)

    def ready_at(self, now: float) -> float:
        """Return when the next may be launched."""
        return now if self.per_s is None else max(now, self._pace.next_at)

    def launched(self, now: float) -> None:
        """Count a launch."""
        idle_s = _IDLE_S if self.per_s is None else max(_IDLE_S, _IDLE_LAUNCHES / self.per_s)
        if now - max(self._launched_at, self._span.since) > idle_s:
            self.begin_anew()
        self._launched_at = now
        self._span.launched += 1
        if self.per_s is None:
            return
        calm_s = min(max(0.0, now - self._refused_at), 10 * _DOUBLES_IN_S)
        grows_per_s = min(_GROWS_MOST_PER_S, _GROWS_PER_S * 2.0 ** (calm_s / _DOUBLES_IN_S))
        self.per_s *= 1.0 + grows_per_s * min(1.0, max(0.0, now - self._grown_at))
        self._grown_at = now
        self._pace.spend(1.0, self.per_s, now)

    def begin_anew(self) -> None:
        """Forget when the bucket was last empty: it is not known what was taken since."""
        self._span = _Span(-math.inf)

    def answered(self) -> None:
        """Count an answer."""
        self._span.answered += 1
        self._recent.append(False)

    def refused(self, launched_at: float, now: float, *, wait_s: float) -> None:
        """Learn from a 429 that is going to be waited out.

        One that was under way when another came says only that the server has taken less.
        """
        span = self._span
        self._recent.append(True)
        if launched_at <= max(span.since, self._refused_at):
            self._correct(launched_at)
            return
        span.launched -= 1
        span.seconds = now + wait_s - span.since
        self._last = span
        if self._is_random(span, now):
            self.per_s = None
        else:
            self._believe(span)
        self._span = _Span(now + wait_s)
        self._grown_at = self._refused_at = now + wait_s

    def _is_random(self, span: _Span, now: float) -> bool:
        """Tell whether refusals come whatever the rate, as far as one more lets us judge."""
        if now < self._random_until:
            return True
        if self.per_s is None and (
            len(self._recent) < _FEW or sum(self._recent) < _COMMON * len(self._recent)
        ):
            return True
        if self.per_s is None or math.isinf(span.seconds) or span.launched < _ENOUGH_LAUNCHES:
            return False
        contradicted = _rate(span) < _CONTRADICTED * self.per_s
        self._contradictions = self._contradictions + 1 if contradicted else 0
        if self._contradictions < _MOST_CONTRADICTIONS:
            return False
        self._contradictions = 0
        self._random_until = now + _AT_RANDOM_S
        return True

    def _correct(self, launched_at: float) -> None:
        last = self._last
        if self.per_s is None:
            return
        if last is not None and not math.isinf(last.seconds) and launched_at > last.since:
            last.launched -= 1
            self._believe(last)

    def _believe(self, span: _Span) -> None:
        if math.isinf(span.seconds):
            # what the bucket held at the start is not known
            self.per_s = None if self.per_s is None else self.per_s * _CUT
            return
        per_s = _BELOW * _rate(span)
        if self.per_s is None or span.seconds >= _LONG_S:
            self.per_s = per_s
        else:
            self.per_s = min(self.per_s, per_s)


def _rate(span: _Span) -> float:
    """Return what the server has taken per second."""
    return max(1, span.launched, span.answered) / span.seconds
