"""What of the output in flight has been written by now."""

from __future__ import annotations

from dataclasses import dataclass

_FADE = 1.0 - 1.0 / 200
"""What a reply's weight is multiplied by with each that follows."""


@dataclass(slots=True)
class Flights:
    """A lane's attempts in flight, as far as the output they have written by now matters.

    `launches` is the sum of their launch times: with the number, it tells how old they are.
    """

    count: int = 0
    launches: float = 0.0
    _written: float = 0.0
    _seconds: float = 0.0

    def join(self, launched_at: float) -> None:
        """Count one more."""
        self.count += 1
        self.launches += launched_at

    def leave(self, launched_at: float) -> None:
        """Count one less."""
        self.count -= 1
        self.launches -= launched_at

    def written(self, now: float) -> float:
        """Return about how many output tokens have been written, of what is still in flight."""
        if not self._seconds:
            return 0.0
        age_s = max(0.0, self.count * now - self.launches)
        return self._written / self._seconds * age_s

    def learn(self, output_tokens: int, seconds: float) -> None:
        """Take in how long a reply took to be written; the latest count most."""
        self._written = self._written * _FADE + output_tokens
        self._seconds = self._seconds * _FADE + seconds
