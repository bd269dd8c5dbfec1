"""A page in headless Chromium, over its DevTools protocol: what it logs, loads and contains."""

from __future__ import annotations

import asyncio
import base64
import itertools
import re
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


_LOADED = """new Promise((done) => document.readyState === "complete"
    ? done() : addEventListener("load", () => done()))"""
"""Is over when the page is loaded."""


@dataclass
class Opened:
    """What a page did while it was opened. `requests` leave the page itself out."""

    url: str
    logged: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    evaluated: list[Any] = field(default_factory=list)
    picture: bytes = b""

    def note(self, method: str, params: dict[str, Any]) -> None:
        """Take in an event of the browser."""
        match method:
            case "Network.requestWillBeSent" if params["request"]["url"] != self.url:
                self.requests.append(params["request"]["url"])
            case "Log.entryAdded":
                self.logged.append(params["entry"]["text"])
            case (
                "Runtime.consoleAPICalled"
                | "Runtime.exceptionThrown"
                | "Page.javascriptDialogOpening"
            ):
                self.logged.append(str(params))
            case _:
                pass


def open_page(
    path: Path,
    *expressions: str,
    width: int = 1280,
    height: int = 900,
    dark: bool = False,
    picture: tuple[int, int] | None = None,
) -> Opened:
    """Open a file; evaluate expressions in it; take a picture of some rows of pixels, if asked."""
    url = path.absolute().as_uri()
    return asyncio.run(_open(url, expressions, (width, height), dark=dark, picture=picture))


async def _open(
    url: str,
    expressions: tuple[str, ...],
    size: tuple[int, int],
    *,
    dark: bool,
    picture: tuple[int, int] | None,
) -> Opened:
    with tempfile.TemporaryDirectory() as folder:
        browser = await asyncio.create_subprocess_exec(
            str(CHROMIUM),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--disable-background-networking",
            "--no-first-run",
            "--remote-debugging-port=0",
            f"--user-data-dir={folder}",
            "about:blank",
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            return await _use(browser, url, expressions, size, dark=dark, picture=picture)
        finally:
            browser.kill()
            await browser.wait()


async def _use(  # one page
    browser: asyncio.subprocess.Process,
    url: str,
    expressions: tuple[str, ...],
    size: tuple[int, int],
    *,
    dark: bool,
    picture: tuple[int, int] | None,
) -> Opened:
    opened = Opened(url)
    address = await _address(browser)
    async with aiohttp.ClientSession() as http:
        async with http.get(f"http://{address}/json/list") as reply:
            (target,) = [each for each in await reply.json() if each["type"] == "page"]
        async with http.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            call = _caller(socket, opened)
            for domain in ("Page", "Runtime", "Log", "Network"):
                await call(f"{domain}.enable", {})
            metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1}
            await call("Emulation.setDeviceMetricsOverride", {**metrics, "mobile": size[0] < 600})
            scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
            await call("Emulation.setEmulatedMedia", {"features": [scheme]})
            await call("Page.navigate", {"url": opened.url})
            await _value(call, _LOADED)
            opened.evaluated = [await _value(call, each) for each in expressions]
            if picture:
                top, bottom = picture
                clip = {"x": 0, "y": top, "width": size[0], "height": bottom - top, "scale": 1}
                taken = await call(
                    "Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True}
                )
                opened.picture = base64.b64decode(taken["data"])
    return opened


async def _address(browser: asyncio.subprocess.Process) -> str:
    assert browser.stderr is not None
    async for line in browser.stderr:
        if found := re.search(rb"ws://([\d.:]+)/", line):
            return found[1].decode()
    raise RuntimeError("Chromium did not start")


Call = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]


def _caller(socket: aiohttp.ClientWebSocketResponse, opened: Opened) -> Call:
    numbers = itertools.count(1)

    async def call(method: str, params: dict[str, Any]) -> dict[str, Any]:
        number = next(numbers)
        await socket.send_json({"id": number, "method": method, "params": params})
        while True:
            message = await socket.receive_json()
            if message.get("id") == number:
                assert "error" not in message, message
                return dict(message["result"])
            if "method" in message:
                opened.note(message["method"], message["params"])

    return call


async def _value(call: Call, expression: str) -> Any:
    asked = {"expression": expression, "returnByValue": True, "awaitPromise": True}
    result = await call("Runtime.evaluate", asked)
    return result["result"].get("value")
