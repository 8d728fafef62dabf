"""Tokens per minute: reserve an estimate, settle the actual; given limits, or limits learned from the provider's answers.

`TokenBucket` keeps a given limit, `LearnedTokenBucket` finds it where none is given, `LeasedBucket` spends slices of one that many
processes share, `queue` says who goes first. Nothing here knows what
is counted: requests pass the same kind of bucket, each costing one. What ready-made limiters lack is why it is our own: amounts, refunds
(also of a request that was refused further in), debts, and a limit that changes under way.

Sources: OpenAI, "Rate limits" (a limit per minute may be enforced over shorter periods); Azure OpenAI, "Manage quota" (evaluated over 1
or 10 s); RFC 2697 (token bucket).
"""

from surefoot.rules.token_bucket.fixed import BURST_S, PACE, PAUSE_CEILING_S, PEAK_S, TokenBucket
from surefoot.rules.token_bucket.learned import LearnedTokenBucket
from surefoot.rules.token_bucket.leased import LeasedBucket
from surefoot.rules.token_bucket.queue import AGEING_S, Reservation

__all__ = ["AGEING_S", "BURST_S", "PACE", "PAUSE_CEILING_S", "PEAK_S", "LearnedTokenBucket", "LeasedBucket", "Reservation", "TokenBucket"]
