"""Object storage: what a bucket does, and what is said where it does not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from claude_batch.errors import UsageError
from claude_batch.storage.objects import store as module
from claude_batch.storage.objects.errors import StoreError, StoreProblem
from claude_batch.storage.objects.locations import is_url, location_of
from claude_batch.storage.objects.store import ObjectStore
from tests.support.forgetful_proxy import forgetful_proxy
from tests.support.s3_server import SECRET, S3Server, s3_server

pytestmark = pytest.mark.services

BUCKET = "s3://bucket/"


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        running.make_bucket("bucket")
        yield running


@pytest.fixture
def variables(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Set the variables of the server, and no others of its kind."""
    for name in [each for each in os.environ if each.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def opened(url: str = BUCKET) -> ObjectStore:
    return ObjectStore(location_of(url), patience_s=0.5)


def error_in(store: ObjectStore, key: str = "x") -> StoreError:
    """Return the error of a listing."""
    with pytest.raises(StoreError) as caught:
        list(store.list(key))
    return caught.value


@pytest.mark.usefixtures("variables")
def test_an_object_is_created_once_replaced_and_removed() -> None:
    store = opened()

    assert store.create("once", b"first")
    assert not store.create("once", b"second")
    assert store.read("once") == b"first"
    store.put("once", b"third")
    assert store.read("once") == b"third"
    store.delete(["once", "gone already"])
    assert store.read("once") is None
    assert store.head("once") is None


@pytest.mark.usefixtures("variables")
def test_a_folder_is_listed_with_keys_of_any_characters(server: S3Server) -> None:
    for key in ("list/a b+é%20#?.jsonl", "list/below/c.jsonl", "listed.jsonl"):
        server.put("bucket", key, b"1")
    store = opened()

    assert sorted(each.key for each in store.list("list/")) == [
        "list/a b+é%20#?.jsonl",
        "list/below/c.jsonl",
    ]
    folders, objects = store.list_folder("list/")
    assert (folders, [each.key for each in objects]) == (["list/below/"], ["list/a b+é%20#?.jsonl"])


@pytest.mark.usefixtures("variables")
def test_bytes_come_in_blocks_as_long_as_the_object_is_the_same(
    server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", 7)
    server.put("bucket", "blocks", bytes(range(50)))
    store = opened()
    known = store.head("blocks")
    assert known is not None

    assert [*store.blocks("blocks", 3, 24, etag=known.etag)] == [
        bytes(range(3, 10)),
        bytes(range(10, 17)),
        bytes(range(17, 24)),
    ]
    server.put("bucket", "blocks", bytes(50))
    with pytest.raises(StoreError) as caught:
        [*store.blocks("blocks", 3, 24, etag=known.etag)]
    assert caught.value.problem is StoreProblem.CHANGED


def test_reading_goes_on_after_the_network_was_away(
    variables: pytest.MonkeyPatch, server: S3Server
) -> None:
    content = bytes(range(256)) * 100
    server.put("bucket", "away", content)
    variables.setattr(module, "BLOCK", 5_000)
    with forgetful_proxy(server.url) as proxy:
        variables.setenv("AWS_ENDPOINT_URL", proxy.url)
        store = ObjectStore(location_of(BUCKET), patience_s=20, silent_s=0.3)
        blocks = store.blocks("away", 0, len(content))
        first = next(blocks)
        proxy.go_away(for_s=0.8)
        assert first + b"".join(blocks) == content
        assert proxy.carried_at


@pytest.mark.usefixtures("variables")
def test_a_bucket_that_is_not_there_is_named() -> None:
    error = error_in(opened("s3://no-such-bucket/"))

    assert error.problem is StoreProblem.NO_BUCKET
    assert "there is no bucket no-such-bucket" in error.message


SERVER_GONE: dict[str, Any] = {"AWS_ENDPOINT_URL": "http://user:pass@127.0.0.1:1"}


@pytest.mark.parametrize(
    ("changes", "problem", "said"),
    [
        ({"AWS_ACCESS_KEY_ID": None}, StoreProblem.NO_CREDENTIALS, "AWS_ACCESS_KEY_ID"),
        (
            {"AWS_ACCESS_KEY_ID": None, "AWS_EC2_METADATA_DISABLED": "true"},
            StoreProblem.NO_CREDENTIALS,
            "AWS_SECRET_ACCESS_KEY",
        ),
        (SERVER_GONE, StoreProblem.UNREACHABLE, "AWS_ENDPOINT_URL names http://127.0.0.1:1"),
    ],
)
def test_what_to_set_is_said_and_no_secret(
    variables: pytest.MonkeyPatch,
    changes: dict[str, str | None],
    problem: StoreProblem,
    said: str,
) -> None:
    for name, value in changes.items():
        if value is None:
            variables.delenv(name)
        else:
            variables.setenv(name, value)

    with pytest.raises(StoreError) as caught:
        list(opened().list())
    error = caught.value
    assert error.problem is problem
    assert said in error.hint
    assert SECRET not in f"{error.message} {error.hint}"
    assert "user:pass" not in f"{error.message} {error.hint}"


def test_a_server_without_tls_is_asked_over_http(
    variables: pytest.MonkeyPatch, server: S3Server
) -> None:
    variables.setenv("AWS_ENDPOINT_URL", server.url.replace("http:", "https:"))

    error = error_in(opened())
    assert error.problem is StoreProblem.TLS
    assert "AWS_ALLOW_HTTP=true" in error.hint


def test_why_access_is_denied_is_said(variables: pytest.MonkeyPatch) -> None:
    with s3_server(checks_keys=True) as strict:
        variables.setenv("AWS_ENDPOINT_URL", strict.url)
        with pytest.raises(StoreError) as caught:
            opened().head("x")
    assert caught.value.problem is StoreProblem.DENIED
    assert caught.value.message == "s3://bucket/x: access denied (InvalidAccessKeyId)"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("AWS_ALLOW_HTTP", "false", "AWS_ENDPOINT_URL begins with http://"),
        ("AWS_ENDPOINT_URL", "localhost", "AWS_ENDPOINT_URL is no URL of a server"),
        ("AWS_CA_BUNDLE", "/nowhere.pem", "AWS_CA_BUNDLE names /nowhere.pem"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(
    variables: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    variables.setenv(name, value)

    with pytest.raises(UsageError, match=said):
        opened()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://host/x.jsonl", "files are not read over https"),
        ("s4://bucket/x", "unknown scheme s4://"),
        ("s3:///x", "names no bucket"),
        ("s3:/bucket/x/", "a / is missing"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused(url: str, said: str) -> None:
    assert is_url(url)
    with pytest.raises(UsageError, match=said):
        location_of(url)
