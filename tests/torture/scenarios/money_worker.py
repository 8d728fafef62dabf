"""One of several processes that spend from one budget.

    python -m tests.torture.scenarios.money_worker NUMBER ADDRESS STORE LEDGER USD LEASE_S

Asks eight at a time, chats and streams in turn, until the budget has no room; says how many answers it got.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter

from surefoot import ChatModel, Policy, Target
from surefoot.errors import BudgetExceeded, SurefootError

IN_USD, OUT_USD = 2.0, 10.0  # a million tokens
WIDTH = 8


async def spend(number: int, address: str, store: str, ledger: str, usd: float, lease_s: float) -> Counter[str]:
    """Until the money is spent: how many calls ended in what ("" is an answer)."""
    target = Target(
        "openai:gpt-4o", base_url=f"{address}/v1", api_key="k", lane="direct",
        input_usd_per_mtok=IN_USD, output_usd_per_mtok=OUT_USD, concurrency=WIDTH,
    )  # fmt: skip
    policy = Policy(budget_usd=usd, budget_store=store, breaker=False, first_token_s=10, idle_s=5, deadline_s=60)
    chat = ChatModel(target, policy=policy, ledger=ledger)
    chat._stack.spend_store._lease_s = lease_s
    ended = Counter[str]()
    calls = iter(range(1_000_000))

    async def work() -> None:
        for call in calls:
            try:
                if call % 2:
                    async for _ in chat.astream(f"worker {number} call {call}"):
                        pass
                else:
                    await chat.ainvoke(f"worker {number} call {call}")
                ended[""] += 1
            except BudgetExceeded as error:
                ended["BudgetExceeded"] += 1
                if "no room" in str(error):
                    return
            except SurefootError as error:
                ended[type(error).__name__] += 1

    await asyncio.gather(*(work() for _ in range(WIDTH)))
    await chat.aclose()
    return ended


if __name__ == "__main__":
    given = sys.argv[1:]
    print(json.dumps(asyncio.run(spend(int(given[0]), given[1], given[2], given[3], float(given[4]), float(given[5])))))
