"""flexllm, the fastest public peer, run by a Python that has it: python THIS COUNT CONCURRENCY."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from flexllm.clients.claude import ClaudeClient  # type: ignore[import-not-found, unused-ignore]  # not a dependency


async def main(count: int, concurrency: int) -> None:
    """Send `count` small requests and keep the answers in a file, as we do."""
    client = ClaudeClient(
        base_url=os.environ["ANTHROPIC_BASE_URL"] + "/v1",
        api_key=os.environ["ANTHROPIC_API_KEY"],
        model="claude-haiku-5-5",
        concurrency_limit=concurrency,
        max_qps=1_000_000,
    )
    prompts = [
        [{"role": "user", "content": f"Say the number {number}."}] for number in range(count)
    ]
    with tempfile.TemporaryDirectory() as folder:
        done = await client.chat_batch(
            prompts,
            show_progress=False,
            output_jsonl=str(Path(folder, "out.jsonl")),
            max_tokens=100,
        )
    if sum(bool(answer.content) for answer in done) != count:
        raise SystemExit("not everything was answered")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
