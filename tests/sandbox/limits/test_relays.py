"""What relays limit and report that the API does not."""

from __future__ import annotations

from tests.sandbox.asking import an_api, ask, params

FAMILY = "anthropic-ratelimit-"


def test_no_more_are_answered_at_once_than_may_be() -> None:
    api = an_api("[limits]\nin_flight = 2")
    first, _, third = (ask(api, params(str(n))) for n in range(3))
    api.ended(first)
    later = [ask(api, params(str(n))).status for n in range(3, 5)]
    assert (first.status, third.status, later) == (200, 429, [200, 429])


def test_a_refused_message_that_ends_makes_no_room() -> None:
    api = an_api("[limits]\nin_flight = 1")
    _, refused = (ask(api, params(str(n))) for n in range(2))
    api.ended(refused)
    assert ask(api, params("2")).status == 429


def test_tokens_may_be_reported_together_only() -> None:
    answer = ask(an_api('[headers]\ntokens = "combined"'))
    kinds = {name.removeprefix(FAMILY) for name in answer.headers if name.startswith(FAMILY)}
    assert {kind.rpartition("-")[0] for kind in kinds} == {"requests", "tokens"}
