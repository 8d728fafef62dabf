"""Real workers and servers, really killed: nothing is lost, nothing is counted twice, and somebody goes on. `surefoot eval bench jobs` runs
the same with more of everything, and shows the figures."""

from __future__ import annotations

import pytest

from surefoot_eval.bench.sections.jobs import kills

pytestmark = pytest.mark.heavy


def whole(run):
    """Each item has its result, once; nobody died by himself."""
    return (run.lost, run.doubled, run.died) == (0, 0, 0)


def test_what_killed_workers_held_is_done_by_others_and_only_that_is_called_twice():
    """Whatever moment it was, and the whole of it soon after they count as dead."""
    run = kills.worker_kills("sqlite", kills=3, seed=5, dead_s=2.0, pause_s=(0.2, 1.0))
    assert whole(run)
    assert run.kills == 3
    assert run.twice <= run.under_way
    assert run.taken_up_s < 2.0 + 20  # on an idle machine less than 4


def test_who_stood_still_for_two_deadlines_writes_nothing_twice():
    """It was taken for dead, its chunks were done by another one, and it comes back with what it had."""
    run = kills.stopped("sqlite", dead_s=1.5)
    assert whole(run)
    assert run.twice <= run.under_way


def test_a_postgres_that_is_killed_costs_no_result_and_no_worker():
    """What was paid for is kept by the workers until it can be written."""
    run = kills.server_kills(kills=1, seed=5, away_s=1.5)
    assert whole(run)
    assert run.twice == 0


def test_a_file_that_somebody_locks_costs_no_result_and_no_worker():
    """Longer than a statement waits for a lock."""
    run = kills.locked(away_s=5.5)
    assert whole(run)
    assert run.twice == 0
