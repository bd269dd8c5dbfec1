"""How far off the estimate of input tokens is, per class of text and in total.

The counts come from a reconstruction of the tokenizers (tests/support/corpus), since no official
one works offline. A reply's real count is drawn up to 10 % either way of it, as texts of one class
differ.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from claude_batch.core.catalog.model_card import Tokenizer
from claude_batch.core.model.requests import Usage
from claude_batch.core.pacing.estimates import Estimates
from claude_batch.core.tokens.estimator import text_tokens
from tests.bench.measuring import Row
from tests.support.corpus import COUNTS, a_request, read, reference

FILES, PROMPTS, REPLIES = 20, 1_000, 50
NOISE = 0.1
BEFORE, AFTER = 0.10, 0.04
EACH = 0.20
"""Bounds: of all kinds together before any reply and after some, and of each kind before any."""
CORPUS = tuple(COUNTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Errors:
    """Relative errors of the estimate: before any reply, and the worst of some files after 50."""

    before: float
    after: float


def estimator(_folder: Path) -> Iterator[Row]:
    """Estimate the corpus, learn from 50 replies, estimate the rest of the file."""
    by_tokenizer: dict[Tokenizer, list[float]] = {tokenizer: [] for tokenizer in Tokenizer}
    for name in CORPUS:
        found = [_errors([name], tokenizer) for tokenizer in Tokenizer]
        for tokenizer, errors in zip(Tokenizer, found, strict=True):
            by_tokenizer[tokenizer].append(abs(errors.before))
        yield Row(
            what=f"prompts like {name}; the worst of {FILES} files",
            measured="; ".join(
                _told(tokenizer, errors) for tokenizer, errors in zip(Tokenizer, found, strict=True)
            ),
            held_to=f"before <= {EACH:.0%}",
            kept=all(abs(errors.before) <= EACH for errors in found),
        )
    means = {tokenizer: sum(each) / len(each) for tokenizer, each in by_tokenizer.items()}
    yield Row(
        what=f"mean error of the {len(CORPUS)} kinds, before any reply",
        measured=", ".join(f"{each.value} {mean:.1%}" for each, mean in means.items()),
        held_to=f"<= {BEFORE:.0%}",
        kept=all(mean <= BEFORE for mean in means.values()),
    )
    for tokenizer in Tokenizer:
        total = _errors(CORPUS, tokenizer)
        yield Row(
            what=f"all {len(CORPUS)} classes mixed, {tokenizer.value} tokenizer, "
            f"the worst of {FILES} files",
            measured=_told(tokenizer, total),
            held_to=f"before <= {BEFORE:.0%}, after {REPLIES} replies <= {AFTER:.0%}",
            kept=abs(total.before) <= BEFORE and abs(total.after) <= AFTER,
        )


def _told(tokenizer: Tokenizer, errors: _Errors) -> str:
    return f"{tokenizer.value} {errors.before:+.1%}, after {REPLIES} replies {errors.after:+.1%}"


def _errors(names: Sequence[str], tokenizer: Tokenizer) -> _Errors:
    real = sum(reference(name, tokenizer) for name in names)
    estimated = sum(text_tokens(read(name), tokenizer) for name in names)
    after = (_error_after(names, tokenizer, seed) for seed in range(FILES))
    return _Errors(before=estimated / real - 1, after=max(after, key=abs))


def _error_after(names: Sequence[str], tokenizer: Tokenizer, seed: int) -> float:
    """Return the error over the rest of one file, when its first replies have been learned."""
    draw, estimates = random.Random(seed), Estimates()
    file = draw.choices(names, k=PROMPTS)
    for name in file[:REPLIES]:
        tokens = round(reference(name, tokenizer) * draw.uniform(1 - NOISE, 1 + NOISE))
        estimates.learn(a_request(name, tokenizer), Usage(input_tokens=tokens, output_tokens=10))
    rest = file[REPLIES:]
    each = {name: estimates.estimate(a_request(name, tokenizer)).input_tokens for name in names}
    return sum(each[name] for name in rest) / sum(reference(name, tokenizer) for name in rest) - 1
