"""Estimates that learn from replies: input tokens by ratio, output tokens by mean.

Never `max_tokens` itself: the API does not charge what is not generated (API-FACTS 1.1).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from claude_batch.core.limits import Cost
from claude_batch.core.model import Request, Usage

_PRIOR_TOKENS = 2_000.0
"""How many estimated input tokens the first guess (ratio 1) weighs."""

_PRIOR_OUTPUT_TOKENS = 256
"""Expected output before anything has been seen, if `max_tokens` allows as much."""

_MEMORY = 200
"""Replies the output mean looks back on, about."""


@dataclass(slots=True)
class _Mean:
    value: float
    seen: int = 0

    def add(self, sample: float) -> None:
        self.seen = min(self.seen + 1, _MEMORY)
        self.value += (sample - self.value) / self.seen


@dataclass(slots=True)
class Estimates:
    """What one lane's requests are expected to cost."""

    _estimated: float = _PRIOR_TOKENS
    _real: float = _PRIOR_TOKENS
    _outputs: dict[int, _Mean] = field(default_factory=dict)

    def expect(self, request: Request) -> Cost:
        """Return the cost to reserve for one attempt at `request`."""
        mean = self._outputs.get(_output_class(request))
        output = min(request.max_tokens, _PRIOR_OUTPUT_TOKENS) if mean is None else mean.value
        return Cost(
            input_tokens=request.input_tokens * self._real / self._estimated, output_tokens=output
        )

    def learn(self, request: Request, usage: Usage) -> None:
        """Take in what a reply really used."""
        self._estimated += request.input_tokens
        self._real += usage.limited_input_tokens
        mean = self._outputs.setdefault(_output_class(request), _Mean(0.0))
        mean.add(usage.output_tokens)


def _output_class(request: Request) -> int:
    """Return the power of two that `max_tokens` fits in: like requests answer at like length."""
    return request.max_tokens.bit_length()
