"""Nouns of the lease: how several programs share the limits of one lane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from claude_batch.core.model.requests import LimitKind


class LimitFact(NamedTuple):
    """What a program has learned of a limit: its size per minute, and the bucket's."""

    kind: LimitKind
    limit_per_minute: float
    capacity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneKey:
    """Which lane it is, the same for every program that uses it.

    `place` is the limit group that the settings name, else the host. It counts until replies have
    named the organization.
    """

    place: str
    model_class: str
    organization: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a program says about itself once per second and lane.

    `number` distinguishes its lanes. `demand` is the part of the limits it can use, None: all it
    can get; `held` the share it uses now, None: none yet. `facts` are the limits it knows.
    """

    number: int
    key: LaneKey
    weight: float
    demand: float | None
    held: float | None
    facts: tuple[LimitFact, ...]


@dataclass(frozen=True, slots=True)
class Sharer:
    """A program that shares a lane: its name, and its part of the limits."""

    name: str
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The share that a program may use from now on, and what others have learned.

    `settled`: it is what this program should have; if not, it is worth asking again soon. `others`
    are those that share the lane.
    """

    share: float
    settled: bool
    facts: tuple[LimitFact, ...]
    others: tuple[Sharer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SharingView:
    """How a lane is shared, for a screen.

    `lost`: the lease cannot be reached, so the last share stays. `silent`: replies report no
    limits, so there is nothing to share.
    """

    share: float
    others: tuple[Sharer, ...]
    lost: bool = False
    silent: bool = False
