"""One attempt at an OpenAI-compatible endpoint: a relay, a local server, OpenAI itself.

The request is converted on its way out, the answer on its way back, so that the rest of the program
sees only messages (docs/decisions/0009).
"""

from __future__ import annotations

import orjson

from claude_batch.core.model.requests import Failure, FailureKind, Reply, Request
from claude_batch.transport.attached import whole
from claude_batch.transport.attempt import Attempt
from claude_batch.transport.clients import Abilities, Client
from claude_batch.transport.failures import own_failure
from claude_batch.transport.openai_format import CannotConvertError, chat_request, read_completion

_PATH = "/chat/completions"
OPENAI_HOST = "api.openai.com"


class OpenAiTransport:
    """The Chat Completions API of one endpoint. Implements ports.Transport.

    The base URL ends before /chat/completions. A key is needed only if the server wants one.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self.name = client.name
        is_openai = client.host == OPENAI_HOST
        self._max_tokens_key = "max_completion_tokens" if is_openai else "max_tokens"

    @property
    def client(self) -> Client:
        """The endpoint's client."""
        return self._client

    @property
    def host(self) -> str:
        """Host and port, for the screen."""
        return self._client.host

    @property
    def is_anthropic(self) -> bool:
        """Never: prompts go to somebody else."""
        return False

    @property
    def abilities(self) -> Abilities:
        """What such an endpoint offers beside plain messages."""
        return self._client.abilities

    async def send(self, request: Request, *, timeout_s: float) -> Reply | Failure:
        """Try `request` once, within `timeout_s` seconds in all."""
        content = await whole(request)
        if isinstance(content, Failure):
            return content
        try:
            body = self._body(request.model, content)
        except CannotConvertError as error:
            return own_failure(
                FailureKind.REQUEST_REJECTED,
                f"endpoint {self.name} speaks the Chat Completions API, which does not have this: "
                f"{error}",
            )
        attempt = Attempt(self._client, _PATH, body, read=read_completion, what="chat completion")
        return await attempt.send(timeout_s)

    def _body(self, model: str, content: bytes) -> bytes:
        params = {**orjson.loads(content), "model": self._client.models.get(model, model)}
        try:
            return orjson.dumps(chat_request(params, max_tokens_key=self._max_tokens_key))
        except orjson.JSONEncodeError as error:
            raise CannotConvertError("it is nested too deeply to be converted") from error

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()
