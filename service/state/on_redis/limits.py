"""`Limits` on Redis: one count for all replicas, and this process's own where Redis is away or came back empty."""

import logging
import time
from collections.abc import Awaitable, Callable

from redis import asyncio as async_redis
from redis.exceptions import RedisError, ResponseError

from service.state.limits import BURST_SECONDS, DAY_SECONDS, EmbeddedLimits
from service.state.on_redis import scripts
from service.state.on_redis.connection import PREFIX

log = logging.getLogger("facebridge.state")
_AGAIN_SECONDS = 1.0
"""Requests do not wait for a Redis that hangs, each for itself."""


class RedisLimits:
    """Counts of keys, whatever tenant they are of."""

    def __init__(self, client: "async_redis.Redis", own: EmbeddedLimits) -> None:
        self._client, self._own, self._away_until = client, own, 0.0

    async def take_request(self, key_id: str, per_second: float) -> float:
        """See the port."""
        shared = await self._asked(scripts.TAKE, f"{PREFIX}:rate:{key_id}", str(per_second), str(BURST_SECONDS))
        return await self._own.take_request(key_id, per_second) if shared is None else shared

    async def spend_probes(self, key_id: str, num: int, per_day: int) -> float:
        """See the port. What was spent here is counted here too: where all was lost, it is not begun anew."""
        place = f"{PREFIX}:spent:{key_id}"
        shared = await self._asked(scripts.SPEND, place, str(num), str(per_day), str(DAY_SECONDS))
        if shared:
            return shared
        return await self._own.spend_probes(key_id, num, per_day)

    async def close(self) -> None:
        """See the port."""
        await self._client.aclose()
        await self._own.close()

    async def _asked(self, script: str, key: str, *arguments: str) -> float | None:
        """None where Redis is away."""
        if time.monotonic() < self._away_until:
            return None
        try:
            call: Callable[..., Awaitable[bytes | int]] = self._client.eval
            return float(await call(script, 1, key, *arguments))
        except ResponseError as failure:
            # It is there, and cannot do this.
            log.error("limits of keys cannot be shared: %s", failure)
            return None
        except (RedisError, OSError):
            self._away_until = time.monotonic() + _AGAIN_SECONDS
            return None
