"""Searches that were submitted to a service and do not run yet: a table beside the studies.

A submission is in the table before the service answers, and leaves it when its search runs, so that
none is lost with the service. It is no study yet: that needs the checkpoint or the task of the
search, which take time to open.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Engine,
    Executable,
    MetaData,
    String,
    Table,
    Text,
    delete,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

from search.storage.database import (
    Database,
    open_database,
    shared_database,
    sqlite_path,
    translated_errors,
)
from search.storage.lease import Lease, lease_of
from search.storage.states import Starting

_TABLE = Table(
    "tlc_submissions",
    MetaData(),
    Column("name", String(512), primary_key=True),
    Column("entry", Text, nullable=False),
)


@dataclass(frozen=True)
class Submission:
    """A search that was submitted.

    Args:
        search: Its search file.
        starter: The service that starts it, as a lease: its id, host, process and time.
        before: The last run of the search when it was submitted; None where there was none.
        state: What was done with it.
        reason: Why it failed to start.
        job: The job that was started; empty before.
        is_withdrawn: Whether it was stopped during its start, which ends the search then.
    """

    search: dict[str, Any]
    starter: dict[str, Any]
    before: str | None = None
    state: Starting = "submitted"
    reason: str = ""
    job: str = ""
    is_withdrawn: bool = False

    def is_over(self, attributes: Mapping[str, Any]) -> bool:
        """Whether its search has run since, from the attributes of its study."""
        lease = lease_of(attributes)
        if lease is None or lease.run == self.before:
            return False
        # The service that was to start the process died in between.
        return lease.heartbeats > 0 or not lease.is_orphaned

    @property
    def started_by(self) -> Lease:
        """The service that starts it."""
        return Lease(**self.starter)


class Submissions:
    """The submissions in the database of the studies.

    Changes name what was read before, and change nothing where another process was faster.

    Args:
        url: SQLAlchemy URL of the studies.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def all(self) -> dict[str, Submission]:
        """Every submission, by the name of its search."""
        return self._read(select(_TABLE))

    def find(self, name: str) -> Submission | None:
        """The submission of a search."""
        return self._read(select(_TABLE).where(_TABLE.c.name == name)).get(name)

    def add(self, name: str, new: Submission) -> bool:
        """Add the submission of a search; False where it has one."""
        database = open_database(self._url)
        with translated_errors(database):
            _create_table(database.engine)
            return self._change(database, insert(_TABLE).values(name=name, entry=_text(new)))

    def replace(self, name: str, old: Submission, new: Submission) -> bool:
        """Replace the submission of a search; False where it is another one now."""
        changed = update(_TABLE).where(*_is(name, old)).values(entry=_text(new))
        return self._change(open_database(self._url), changed)

    def remove(self, name: str, old: Submission) -> bool:
        """Remove the submission of a search; False where it is another one now."""
        return self._change(open_database(self._url), delete(_TABLE).where(*_is(name, old)))

    def _change(self, database: Database, change: Executable) -> bool:
        with translated_errors(database):
            try:
                with database.engine.begin() as connection:
                    return connection.execute(change).rowcount == 1
            except IntegrityError:
                return False

    def _read(self, query: Executable) -> dict[str, Submission]:
        path = sqlite_path(self._url)
        if path is not None and not path.exists():
            return {}
        database = shared_database(self._url)
        with translated_errors(database), database.engine.connect() as connection:
            if not inspect(connection).has_table(_TABLE.name):
                return {}
            rows = connection.execute(query).all()
        return {row.name: Submission(**json.loads(row.entry)) for row in rows}


def _create_table(engine: Engine) -> None:
    try:
        _TABLE.create(engine, checkfirst=True)
    except (IntegrityError, OperationalError, ProgrammingError):
        # Another process creates it at the same time.
        if not inspect(engine).has_table(_TABLE.name):
            raise


def _is(name: str, submission: Submission) -> tuple[ColumnElement[bool], ...]:
    return (_TABLE.c.name == name, _TABLE.c.entry == _text(submission))


def _text(submission: Submission) -> str:
    return json.dumps(asdict(submission))
