"""Which tables are copied, and what they are called where."""

from __future__ import annotations

from typing import NamedTuple

from surefoot.gateway.batches.store import FILES
from surefoot.gateway.calls import CALLS
from surefoot.gateway.keys.store import KEYS
from surefoot.history.turns import HISTORY
from surefoot.history.turns import INDEX as TURNS_INDEX
from surefoot.history.turns import SCHEMA as TURNS
from surefoot.jobs.ledger import JOBS
from surefoot.storage.sql import TableSchema
from surefoot.storage.sql.migrations import read_migrations
from surefoot.usage.accounts.sql import SPEND
from surefoot.usage.rows import USAGE
from surefoot.usage.rows.sqlite import SCHEMA as USAGE_TABLES


class Table(NamedTuple):
    """A table by the name it has in a copy."""

    name: str
    part: TableSchema
    lite: str | None = ""
    """What it is called in SQLite; empty: the same; None: it is not there."""
    order: str = ""
    """The column that numbers its rows in Postgres, where the number says nothing but their order: it is given anew."""
    lite_order: str = ""
    """The same in SQLite."""

    def named(self, dialect: str) -> str | None:
        """Its name in that dialect; None where there is no such table."""
        return self.name if dialect == "postgresql" or self.lite == "" else self.lite

    def ordered_by(self, dialect: str) -> str:
        """The column that numbers its rows; empty where there is none."""
        return self.order if dialect == "postgresql" else self.lite_order


TABLES = (
    Table("sf_job", JOBS),
    Table("sf_chunk", JOBS),
    Table("sf_input", JOBS),
    Table("sf_result", JOBS),
    Table("sf_batch", JOBS),
    Table("sf_team", KEYS),
    Table("sf_key", KEYS),
    Table("sf_setup", KEYS),
    Table("sf_file", FILES),
    Table("sf_asked_batch", FILES),
    Table("sf_call", CALLS),
    Table("sf_hour", CALLS),
    Table("sf_account", SPEND),
    Table("sf_hold", SPEND),
    Table("sf_turn", HISTORY, lite="turns", order="id", lite_order="at"),
    Table("sf_usage", USAGE, lite="usage"),
    Table("sf_usage_sum", USAGE, lite="usage_sum"),
    Table("sf_usage_batch", USAGE, lite="usage_batch"),
    Table("sf_usage_set_aside", USAGE, lite="set_aside", order="id", lite_order="rowid"),
)
LITE_TABLES = {  # these parts have no numbered migrations in SQLite
    HISTORY: (TURNS, TURNS_INDEX),
    USAGE: tuple(statement for statement in USAGE_TABLES.split(";") if statement.strip()),
}


def known_version(part: str) -> int:
    """The version of a part's tables that this code knows; 0 for a part it does not know."""
    return next((len(read_migrations(one.part, "postgresql")) for one in TABLES if one.part.part == part), 0)
