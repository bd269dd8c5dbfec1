"""Write as many prompts as you like: python samples/large.py 100000 > large.jsonl.

The same arguments give the same bytes, always.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

_TEXT = (
    "the river a letter of from under seven quiet harbour window market story every morning "
    "between stone and light garden with winter question paper about over train small answer"
)
_WORDS = _TEXT.split()
_TASKS = ("Translate into French", "Name the topic", "Sum up in five words", "Correct the spelling")

Line = Callable[[int, str], object]

SHAPES: dict[str, Line] = {
    "text": lambda number, prompt: f"{prompt} ({number})",
    "prompt": lambda number, prompt: {"custom_id": f"item-{number}", "prompt": prompt},
    "flat": lambda number, prompt: {"custom_id": f"item-{number}", **_params(prompt)},
    "batch": lambda number, prompt: {"custom_id": f"item-{number}", "params": _params(prompt)},
}


def _params(prompt: str) -> dict[str, object]:
    return {
        "model": "claude-haiku-5-5",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": prompt}],
    }


def lines(count: int, *, shape: str, words: int, seed: int) -> Iterator[str]:
    """Yield `count` lines of JSON, each a prompt of about `words` words."""
    draw = random.Random(seed)
    kinds = [SHAPES[shape]] if shape != "mixed" else list(SHAPES.values())
    for number in range(1, count + 1):
        length = draw.randint(max(1, words // 2), max(1, words * 3 // 2))
        prompt = f"{draw.choice(_TASKS)}: {' '.join(draw.choices(_WORDS, k=length))}."
        yield json.dumps(kinds[number % len(kinds)](number, prompt), separators=(",", ":"))


def main() -> None:
    """Read the arguments and write."""
    parser = argparse.ArgumentParser(description="Write a large file of prompts.")
    parser.add_argument("count", type=int, help="how many lines")
    parser.add_argument("-o", "--out", type=Path, help="a file; default: stdout")
    parser.add_argument("--shape", choices=[*SHAPES, "mixed"], default="prompt")
    parser.add_argument("--words", type=int, default=10, help="words per prompt, on average")
    parser.add_argument("--seed", type=int, default=0)
    order = parser.parse_args()
    made = lines(order.count, shape=order.shape, words=order.words, seed=order.seed)
    target = order.out.open("w") if order.out else nullcontext(sys.stdout)
    with target as file:
        for line in made:
            file.write(line + "\n")


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:  # `| head`: the reader has what it wanted
        sys.stderr.close()
