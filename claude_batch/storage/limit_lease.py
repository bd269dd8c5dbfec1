"""The lease of rate limits in Redis: programs of one organization split its limits fairly.

One script call per second and lane, never per request. A lane is a hash with a field per program:
until when it counts, its weight, what it can use, its share and its name. All times are the
server's own. The script grants a share only out of what the others have not been granted, so the
shares never exceed 1 together: a newcomer gets its part once the others have asked again.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from contextlib import suppress

import orjson

from claude_batch.core.model.requests import LimitKind
from claude_batch.core.model.sharing import Claim, Grant, LaneKey, LimitFact, Sharer
from claude_batch.errors import LeaseAwayError, UsageError
from claude_batch.storage.redis import SCHEMES, connect, place

PREFIX = "claude-batch:{lease}:"
"""Keys begin with this; the braces keep them in one slot of a Redis Cluster."""

FLAG = "--shared-limits"

ANSWER_S = 2.0
"""A server that is silent for this long, in seconds, counts as lost: well below `SILENT_S`."""

SILENT_S = 5
"""A program that has not asked for this long, in seconds, gives up its share."""

SETTLES_S = 1.5
"""While a lane is younger than this, in seconds, no share grows: others may be about to ask. The
programs of a server that has lost its data keep what they have."""

FIRST_SHARE = 0.25
"""The most that a program gets of such a lane if it holds no share yet."""

_LASTS_S = 3600
"""How long a lane is remembered after its last program, in seconds, with what is known of it."""

_LEAVE_S = 1.0
"""How long the end of a program may wait for the server, in seconds: its time runs out anyway."""

_LONGEST_NAME = 80

RENEW = f"""
local member, weight, demand, held, name, facts = unpack(ARGV)
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1e6
local lane = KEYS[1]
if KEYS[2] then
  lane = KEYS[2]
  redis.call('HDEL', KEYS[1], member)
  redis.call('SET', KEYS[1] .. ':moved', lane, 'EX', {_LASTS_S})
else
  lane = redis.call('GET', KEYS[1] .. ':moved') or lane
end

local others, since, granted = {{}}, now, 0
local flat = redis.call('HGETALL', lane)
for i = 1, #flat, 2 do
  local field, value = flat[i], flat[i + 1]
  if field == 'since' then
    since = tonumber(value)
  elseif field == 'facts' then
    if facts == '' then facts = value end
  elseif field ~= member then
    local till, w, d, share, who = value:match('^(.-)|(.-)|(.-)|(.-)|(.*)$')
    if tonumber(till) > now then
      share = tonumber(share)
      granted = granted + share
      others[#others + 1] =
        {{id = field, weight = tonumber(w), demand = tonumber(d), share = share, name = who}}
    else
      redis.call('HDEL', lane, field)
    end
  end
end
if #others == 0 and redis.call('HEXISTS', lane, member) == 0 then since = now end

local me = {{id = member, weight = tonumber(weight), demand = tonumber(demand)}}
local all, total = {{me}}, me.weight
for _, other in ipairs(others) do
  all[#all + 1] = other
  total = total + other.weight
end
table.sort(all, function(a, b)
  local x = a.demand and a.demand / a.weight or math.huge
  local y = b.demand and b.demand / b.weight or math.huge
  if x ~= y then return x < y end
  return a.id < b.id
end)
local left, weights, fair = 1, total, 0
for _, each in ipairs(all) do
  local even = left * each.weight / weights
  local part = each.demand and math.min(each.demand, even) or even
  if each == me then fair = part end
  left = left - part
  weights = weights - each.weight
end
fair = fair + math.max(0, left) * me.weight / total

local share = math.min(fair, 1 - granted)
if now < since + {SETTLES_S} then
  share = math.min(share, tonumber(held) or {FIRST_SHARE})
end
if share < 1e-6 then share = 0 end

local number = function(x) return x and string.format('%.17g', x) or '' end
redis.call('HSET', lane, 'since', number(since), 'facts', facts, member, table.concat(
  {{number(now + {SILENT_S}), number(me.weight), number(me.demand), number(share), name}}, '|'))
redis.call('EXPIRE', lane, {_LASTS_S})
local answer = {{lane, number(share), number(fair), facts}}
for _, other in ipairs(others) do
  answer[#answer + 1] = other.name
  answer[#answer + 1] = number(other.share)
end
return answer
"""
"""Registers a program, and returns its share. Keys: the lane by place, and by organization if that
is known. A lane known by place leads to where the last program from there moved: so a newcomer
finds the others before its first reply has named its organization.

The programs that can use less than an even part get that; the rest is split by weight among the
others; what nobody can use is split by weight among all.
"""


class RedisLease:
    """Shares in the Redis database that `url` names; `name` is what other programs show of us.

    The URL's password is never shown. Raises UsageError for a URL that cannot be used.
    """

    def __init__(self, url: str, *, name: str) -> None:
        if url.partition("://")[0] not in SCHEMES:
            raise UsageError(
                f"{FLAG}: the URL must begin with redis://, rediss:// or unix://",
                hint=f"for example: {FLAG} redis://127.0.0.1:6379/0",
            )
        self._redis = connect(
            url, flag=FLAG, purpose="sharing limits", without="to share none", answer_s=ANSWER_S
        )
        self._place = place(url)
        self._renew = self._redis.register_script(RENEW)
        self._member = uuid.uuid4().hex
        self._name = name[:_LONGEST_NAME]
        self._lanes: dict[int, str] = {}

    async def check(self) -> None:
        """Raise LeaseAwayError if the server does not answer, UsageError if it refuses us."""
        try:
            await self._redis.ping()
        except _errors() as error:
            raise (LeaseAwayError if _is_away(error) else UsageError)(
                f"{FLAG}: {self._place} cannot be used: {str(error).rstrip('.')}",
                hint=f"start the Redis server, or leave out {FLAG}; the programs then stay within "
                "the limits, but do not share them fairly",
            ) from error

    async def renew(self, claim: Claim) -> Grant | None:
        """Claim a share for the next seconds; None: the server does not answer."""
        key = claim.key
        keys = [_lane(key.place, key)]
        if key.organization is not None:
            keys.append(_lane(f"organization {key.organization}", key))
        arguments = [
            self._id(claim.number),
            repr(claim.weight),
            "" if claim.demand is None else repr(claim.demand),
            "" if claim.held is None else repr(claim.held),
            self._name,
            orjson.dumps([list(fact) for fact in claim.facts]) if claim.facts else b"",
        ]
        try:
            answer = await self._renew(keys=keys, args=arguments)
        except _errors():
            return None
        lane, share, fair, facts, *others = (each.decode(errors="replace") for each in answer)
        self._lanes[claim.number] = lane
        return Grant(
            share=float(share),
            settled=float(share) > 0.99 * float(fair),
            facts=_facts(facts),
            others=_sharers(others[::2], others[1::2]),
        )

    async def leave(self, number: int) -> None:
        """Give up the share of a lane, so that others get it at once."""
        lane = self._lanes.pop(number, None)
        if lane is None:
            return
        try:
            await self._redis.hdel(lane, self._id(number))
        except _errors():
            return  # our time runs out there

    async def sharers(self, key: LaneKey) -> tuple[Sharer, ...]:
        """Return who shares a lane now, the largest share first. Raises UsageError."""
        where = key.place if key.organization is None else f"organization {key.organization}"
        try:
            seconds, micros = await self._redis.time()
            fields = await self._redis.hgetall(_lane(where, key))
        except _errors() as error:
            raise UsageError(
                f"{FLAG}: {self._place} cannot be used: {str(error).rstrip('.')}",
                hint=f"start the Redis server, or leave out {FLAG}",
            ) from error
        found = []
        for field, value in fields.items():
            parts = value.decode(errors="replace").split("|", 4)
            if field in {b"since", b"facts"} or len(parts) < 5:  # noqa: PLR2004  # as written
                continue
            if float(parts[0]) > seconds + micros / 1e6:
                found.append(Sharer(parts[4], float(parts[3])))
        return tuple(sorted(found, key=lambda each: (-each.share, each.name)))

    async def close(self) -> None:
        """Give up all shares, and close the connection."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LEAVE_S):
                for number in list(self._lanes):
                    await self.leave(number)
        await self._redis.aclose()

    def _id(self, number: int) -> str:
        return f"{self._member}-{number}"


def _lane(where: str, key: LaneKey) -> str:
    return f"{PREFIX}{where}:{key.model_class}"


def _facts(text: str) -> tuple[LimitFact, ...]:
    """Return what another program has stored; nothing if it is no such thing."""
    try:
        return tuple(
            LimitFact(LimitKind(kind), float(limit), float(capacity))
            for kind, limit, capacity in orjson.loads(text or "[]")
            if float(limit) > 0 and float(capacity) > 0
        )
    except (ValueError, TypeError):
        return ()


def _sharers(names: Sequence[str], shares: Sequence[str]) -> tuple[Sharer, ...]:
    pairs = zip(names, shares, strict=True)
    return tuple(sorted((Sharer(name, float(share)) for name, share in pairs), key=_by_share))


def _by_share(sharer: Sharer) -> tuple[float, str]:
    return -sharer.share, sharer.name


def _is_away(error: Exception) -> bool:
    """Return whether a server cannot be reached, or is starting: later it may answer."""
    from redis.exceptions import (  # noqa: PLC0415  # as below
        AuthenticationError,
        AuthorizationError,
        ConnectionError,  # noqa: A004  # Redis calls it so
        RedisError,
        TimeoutError,  # noqa: A004  # as above
    )

    if isinstance(error, AuthenticationError | AuthorizationError):
        return False
    return isinstance(error, ConnectionError | TimeoutError) or not isinstance(error, RedisError)


def _errors() -> tuple[type[Exception], ...]:
    """Return what a client raises when the server is gone, busy or not what it should be."""
    from redis.exceptions import RedisError  # noqa: PLC0415  # an extra, loaded when asked for

    return (RedisError, OSError, TimeoutError)
