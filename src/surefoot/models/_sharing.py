"""What a target shares with other processes, and where."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from surefoot.credentials import said_in_environment
from surefoot.errors import Misconfigured
from surefoot.secret import Secret
from surefoot.settings import Policy, Target
from surefoot.storage import is_redis_url
from surefoot.storage.sql import is_database_url

if TYPE_CHECKING:
    from surefoot.shared.limits import SharedLimits

VARIABLE = "SUREFOOT_SHARED"


def shared_url(policy: Policy) -> str:
    """Where limits are shared: as the policy says, else as the environment does; "" for nowhere. Raises Misconfigured for no address."""
    url = policy.shared if policy.shared is not None else said_in_environment(VARIABLE)
    if url and not (is_redis_url(url) or is_database_url(url)):
        raise Misconfigured('shared: write "redis://HOST:PORT/0", "postgresql://USER@HOST/NAME" or "sqlite:PATH"')
    return url


def shared_limits(target: Target, policy: Policy) -> SharedLimits | None:
    """The part of this process in the target's shared limits; None if it shares none.

    Targets are the same in all processes that say the same name, address, limits and key. Raises Misconfigured as `shared_url`.
    """
    url = shared_url(policy)
    if not url:
        return None
    from surefoot.shared.limits import SharedLimits
    from surefoot.shared.stores import target_digest

    limits = (target.requests_per_minute, target.tokens_per_minute, target.concurrency)
    return SharedLimits(
        Secret(url),
        policy.shared_namespace,
        target_digest(target.name, target.base_url, _account(target)),
        requests_per_minute=limits[0],
        tokens_per_minute=limits[1],
        places=limits[2],
        when_away=policy.shared_when_away,
    )


def _account(target: Target) -> str:
    """Tells accounts apart, as limits are an account's: where the key is; of one that was said itself, a digest nothing leads back from."""
    key = target.api_key
    if isinstance(key, Secret):
        return hashlib.blake2b(key.reveal().encode(), digest_size=8, person=b"surefoot-account").hexdigest()
    return key if isinstance(key, str) else ""
