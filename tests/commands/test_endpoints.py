"""Endpoints are grouped by their limits alike in `estimate` and in `run`."""

from __future__ import annotations

from typing import Any

import pytest

from claude_batch.commands.endpoints import endpoint_spec, known_endpoints
from claude_batch.config import settings
from claude_batch.config.options import Options
from claude_batch.config.settings import Endpoint, Settings
from claude_batch.core.catalog.catalog import BUNDLED
from claude_batch.core.model.account import NO_LIMITS
from claude_batch.core.planning.limits import ReportedLimits, plan_limits
from claude_batch.core.scheduling.lane import Lane
from claude_batch.core.scheduling.pool import EndpointSpec, Pool

OWN_URL = "https://api.anthropic.com"
Groups = list[list[str]]


def planned(endpoints: tuple[Endpoint, ...], organizations: dict[str, str]) -> Groups:
    """Return the groups that `estimate` plans for."""
    whole = Settings(
        options=Options(), endpoints=endpoints, pool=settings.Pool(), routes=(), file=None
    )
    reported = {name: ReportedLimits(organization=each) for name, each in organizations.items()}
    known = known_endpoints(whole, reported, BUNDLED)
    return [list(names) for names in plan_limits(known, NO_LIMITS, (), BUNDLED).groups]


def pooled(endpoints: tuple[Endpoint, ...], organizations: dict[str, str]) -> Groups:
    """Return the groups that `run` has once replies have named these organizations."""

    def no_lane(spec: EndpointSpec, model: str, now: float) -> Lane:
        raise AssertionError(spec, model, now)

    specs = [endpoint_spec(endpoint, Options(), BUNDLED, None) for endpoint in endpoints]
    pool = Pool(specs, no_lane)
    for name, organization in organizations.items():
        pool.learn_organization(pool.by_name[name], organization)
    return [[each.spec.name for each in group.endpoints] for group in pool.groups]


@pytest.mark.parametrize(
    ("endpoints", "organizations", "groups"),
    [
        ([{}, {"base_url": OWN_URL}], {}, [["a", "b"]]),
        ([{}, {"base_url": f"{OWN_URL}:443/"}], {}, [["a", "b"]]),
        ([{}, {"base_url": "https://relay.example"}], {}, [["a"], ["b"]]),
        ([{}, {"limit_group": "other"}], {}, [["a"], ["b"]]),
        ([{"limit_group": "one"}, {"limit_group": "one"}], {"a": "x", "b": "y"}, [["a", "b"]]),
        ([{}, {}], {"a": "x", "b": "y"}, [["a"], ["b"]]),
        ([{}, {}], {"a": "x"}, [["a", "b"]]),
        ([{}, {"base_url": "https://relay.example"}], {"a": "x", "b": "x"}, [["a", "b"]]),
        ([{"provider": "bedrock"}, {"provider": "bedrock"}], {}, [["a", "b"]]),
    ],
)
def test_estimate_has_the_limit_groups_of_run(
    endpoints: list[dict[str, Any]],
    organizations: dict[str, str],
    groups: Groups,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("ANTHROPIC_BASE_URL", raising=False)
    made = tuple(Endpoint(name=name, **parts) for name, parts in zip("ab", endpoints, strict=True))
    assert planned(made, organizations) == groups
    assert pooled(made, organizations) == groups


def test_a_url_in_the_environment_is_where_an_endpoint_without_one_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "https://user:secret@Relay.example/v1")
    made = (Endpoint(name="a"), Endpoint(name="b", base_url="https://relay.example"))
    assert planned(made, {}) == [["a", "b"]]
