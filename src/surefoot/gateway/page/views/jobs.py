"""Jobs: how far each is, what it cost, what failed."""

from __future__ import annotations

from surefoot.gateway.page.frame import PageRequest
from surefoot.gateway.records import WholeAnswer
from surefoot.jobs.ledger import JOBS, statuses

SHOWN = 100


async def jobs(page: PageRequest) -> WholeAnswer:
    """The newest of the database that holds the keys."""
    found = await page.keys.database.run(lambda sql: statuses(sql, None, SHOWN), JOBS, reads=True)
    return page.html("jobs.html", jobs=found, place=page.keys.describe())
