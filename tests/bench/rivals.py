"""The clients we are measured against: python -m tests.bench.rivals KIND COUNT CONCURRENCY."""

from __future__ import annotations

import asyncio
import sys

import anthropic


async def main(kind: str, count: int, concurrency: int) -> None:
    """Send `count` small requests, at most `concurrency` at a time."""
    http_client = anthropic.DefaultAioHttpClient() if kind == "sdk-aiohttp" else None
    client = anthropic.AsyncAnthropic(max_retries=0, http_client=http_client)
    semaphore = asyncio.Semaphore(concurrency)

    async def one(number: int) -> int:
        async with semaphore:
            message = await client.messages.create(
                model="claude-haiku-5-5",
                max_tokens=100,
                messages=[{"role": "user", "content": f"Say the number {number}."}],
            )
            return message.usage.output_tokens

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(number)) for number in range(count)]
    if sum(task.result() for task in tasks) <= 0:
        raise SystemExit("nothing was answered")
    await client.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
