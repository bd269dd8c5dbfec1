"""A client is opened once, points where it was told, and sends its key nowhere else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx2
import pytest

import claude_batch
from claude_batch.config.secrets import Scrub
from claude_batch.config.settings import Provider
from claude_batch.errors import CredentialsMissingError, SettingsError
from claude_batch.transport.clients import EndpointSettings
from claude_batch.transport.failures import prefix_of
from claude_batch.transport.opening import open_transport
from tests.transport.wire import KEY, Wire, reply


def headers_sent(settings: EndpointSettings) -> httpx2.Headers:
    wire = Wire()
    reply(wire, settings=settings)
    return wire.sent[0].headers


def test_a_key_goes_out_as_a_bearer_token() -> None:
    headers = headers_sent(EndpointSettings(api_key=KEY))
    assert headers["authorization"] == f"Bearer {KEY}"
    assert "x-api-key" not in headers


def test_a_token_goes_out_as_a_bearer_token() -> None:
    assert headers_sent(EndpointSettings(auth_token=KEY))["authorization"] == f"Bearer {KEY}"


def test_a_server_that_reads_only_x_api_key_gets_only_that() -> None:
    headers = headers_sent(EndpointSettings(api_key=KEY, auth="x-api-key"))
    assert headers["x-api-key"] == KEY
    assert "authorization" not in headers


def test_a_key_can_go_out_both_ways() -> None:
    headers = headers_sent(EndpointSettings(api_key=KEY, auth="both"))
    assert (headers["x-api-key"], headers["authorization"]) == (KEY, f"Bearer {KEY}")


def test_the_keys_variable_is_read_by_the_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    assert headers_sent(EndpointSettings())["authorization"] == f"Bearer {KEY}"


def test_the_keys_variable_serves_x_api_key_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    assert headers_sent(EndpointSettings(auth="x-api-key"))["x-api-key"] == KEY


def test_headers_of_the_settings_are_sent() -> None:
    headers = headers_sent(EndpointSettings(api_key=KEY, headers={"X-Team": "blue"}))
    assert headers["x-team"] == "blue"


def test_headers_of_the_sdks_variable_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "x-team: blue")
    assert headers_sent(EndpointSettings(api_key=KEY))["x-team"] == "blue"


def test_without_any_credential_the_message_names_the_variables() -> None:
    with pytest.raises(CredentialsMissingError, match="ANTHROPIC_API_KEY") as raised:
        Wire().client(EndpointSettings())
    assert "--sandbox" in raised.value.hint


def test_an_authorization_header_is_credential_enough() -> None:
    settings = EndpointSettings(headers={"Authorization": "Basic abcdefgh"})
    assert headers_sent(settings)["authorization"] == "Basic abcdefgh"


def test_two_credentials_at_once_are_refused() -> None:
    with pytest.raises(SettingsError, match="main: it has both"):
        Wire().client(EndpointSettings(name="main", api_key=KEY, auth_token="other-token"))


def test_the_base_url_can_come_from_the_sdks_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:9/api")
    assert Wire().client().host == "127.0.0.1:9"


def test_by_default_prompts_go_to_anthropic() -> None:
    assert Wire().client().is_anthropic


def test_a_password_in_a_base_url_is_refused_and_not_repeated() -> None:
    settings = EndpointSettings(api_key=KEY, base_url="https://me:hunter22@relay.example:8443/x")
    with pytest.raises(SettingsError, match="a user name or a password") as caught:
        Wire().client(settings)
    assert "hunter22" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("end", ["?team=a", "#a"])
@pytest.mark.parametrize("provider", ["anthropic", "openai"])
def test_a_base_url_that_no_path_can_be_added_to_is_refused(provider: Provider, end: str) -> None:
    settings = EndpointSettings(
        provider=provider, api_key=KEY, base_url=f"https://relay.example/x{end}"
    )
    with pytest.raises(SettingsError, match="a query or a fragment"):
        open_transport(settings)


def test_a_token_where_a_key_is_to_be_sent_is_refused() -> None:
    with pytest.raises(SettingsError, match="there is only a token"):
        Wire().client(EndpointSettings(auth_token=KEY, auth="x-api-key"))


@pytest.mark.parametrize("bad", [f"{KEY}\n", f"\u201c{KEY}\u201d", f"{KEY}\x01"])
@pytest.mark.parametrize("where", ["api_key", "auth_token", "headers"])
def test_a_secret_that_no_header_can_carry_is_refused_and_not_repeated(
    where: str, bad: str
) -> None:
    more: dict[str, Any] = {where: {"x-team": bad} if where == "headers" else bad}
    key = {} if where == "auth_token" else {"api_key": KEY}
    with pytest.raises(SettingsError, match="no header can carry") as caught:
        Wire().client(EndpointSettings(**{**key, **more}))
    assert KEY not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    ("url", "message"),
    [("", "is empty"), ("relay.example", "does not begin"), ("ftp://relay", "does not begin")],
)
def test_a_base_url_that_is_none_is_refused_at_once(
    url: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", url)
    with pytest.raises(SettingsError, match=message) as caught:
        Wire().client()
    assert "ANTHROPIC_BASE_URL" in caught.value.hint


@pytest.mark.parametrize("end", ["\n", "\r"])
@pytest.mark.parametrize("name", ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"])
def test_a_line_break_in_a_variable_of_the_sdk_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, end: str
) -> None:
    monkeypatch.setenv(name, KEY + end)
    with pytest.raises(SettingsError, match="no header can carry") as caught:
        Wire().client(EndpointSettings())
    assert KEY not in f"{caught.value} {caught.value.hint}"


def test_what_makes_no_sense_is_scrubbed_before_it_is_cut() -> None:
    body = b"x" * 190 + KEY.encode()
    assert KEY[:5] not in prefix_of(body, Scrub(secrets=(KEY,)))


def test_a_header_of_the_users_own_that_sounds_secret_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "X-Relay-Token: open sesame\nX-Team: labels")
    scrub = Wire().client(EndpointSettings(api_key=KEY)).scrub
    assert scrub("labels: open sesame") == "labels: [secret]"


def test_settings_do_not_show_their_secrets() -> None:
    settings = EndpointSettings(api_key=KEY, auth_token=KEY, headers={"x": KEY})
    assert KEY not in repr(settings)


def test_a_client_does_not_show_its_secrets() -> None:
    assert KEY not in repr(Wire().client().scrub)


def test_a_secret_within_another_is_taken_out_whole() -> None:
    settings = EndpointSettings(api_key=KEY, headers={"x": f"{KEY}-and-more"})
    assert Wire().client(settings).scrub(f"{KEY}-and-more") == "[secret]"


def test_short_values_are_no_secrets() -> None:
    settings = EndpointSettings(api_key=KEY, headers={"x-team": "blue"})
    assert Wire().client(settings).scrub("a blue sky") == "a blue sky"


def test_json_without_a_secret_is_the_same_object() -> None:
    raw = b'{"text":"hello"}'
    assert Scrub(secrets=(KEY,)).json(raw) is raw


def test_the_sdks_retries_are_off_in_exactly_one_place() -> None:
    package = Path(claude_batch.__file__).parent / "transport"
    hits = [
        path.name
        for path in package.rglob("*.py")
        for _ in re.finditer(r"max_retries", path.read_text(encoding="utf-8"))
    ]
    assert hits == ["sdk.py"]
