"""The database of the studies: made whole or not at all, and refused when it is damaged."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import SQLAlchemyError

from objectives.store.locks import exclusive_lock
from search.storage.errors import DamagedStudy, StudyUnavailable
from search.storage.retry import is_transient, reason, retryable
from spaces.file.storage import without_password

BUSY_SECONDS = 60
"""Seconds that SQLite waits for a lock."""


class Database(RDBStorage):
    """Optuna's storage, whose transactions can wait for a database that is away.

    Args:
        url: SQLAlchemy URL of the studies.
        place: The same as a person may see it.
    """

    def __init__(self, url: str, place: str) -> None:
        self.place = place
        # A connection that PostgreSQL closed when it restarted is found out before it is used.
        super().__init__(url, engine_kwargs={"pool_pre_ping": True, **_options(url)})


for _name in (
    "_create_new_trial",
    "_get_trials",
    "_set_trial_param",
    "get_study_system_attrs",
    "get_study_user_attrs",
    "get_trial",
    "get_trial_id_from_study_id_trial_number",
    "get_trial_system_attrs",
    "set_study_system_attr",
    "set_study_user_attr",
    "set_trial_state_values",
    "set_trial_system_attr",
    "set_trial_user_attr",
):
    # What a driver calls, through Optuna's cache; each of them is one transaction.
    setattr(Database, _name, retryable(getattr(RDBStorage, _name)))


def open_database(url: str) -> Database:
    """Open the database of the studies, or make it.

    Raises:
        DamagedStudy: The file is there and is not a whole database.
        StudyUnavailable: It cannot be opened.
    """
    place = without_password(url)
    path = sqlite_path(url)
    try:
        if path is None:
            return Database(url, place)
        if not path.exists():
            _make(path)
        _check_whole(path)
        # SQLite makes an empty file of one that goes away, unless it is told not to.
        return Database(f"sqlite:///file:{quote(str(path))}?mode=rw&uri=true", str(path))
    except StudyUnavailable:
        raise
    except Exception as error:
        # SQLAlchemy and its drivers raise classes of their own for what a wrong URL can cause.
        raise StudyUnavailable(
            f"storage.study: {place!r} cannot be opened: {reason(error)}"
        ) from error


@lru_cache(maxsize=8)
def shared_database(url: str) -> Database:
    """One for each URL: a service asks for names all the time."""
    return open_database(url)


@contextmanager
def readable(database: Database) -> Iterator[None]:
    """Tell a person when the database cannot be read.

    Raises:
        DamagedStudy: What it holds is not what was written.
        StudyUnavailable: It cannot be reached.
    """
    try:
        yield
    except json.JSONDecodeError as error:
        raise _damaged(database.place, f"a value is no JSON: {error}") from error
    except (StorageInternalError, SQLAlchemyError) as error:
        said = reason(error)
        if not is_transient(error) and ("malformed" in said or "not a database" in said):
            raise _damaged(database.place, said) from error
        raise StudyUnavailable(
            f"storage.study: {database.place!r} cannot be read: {said}"
        ) from error


def sqlite_path(url: str) -> Path | None:
    """The file of the studies; None where it is a server."""
    prefix = "sqlite:///"
    return Path(url.removeprefix(prefix)).absolute() if url.startswith(prefix) else None


def refuse_damaged(url: str) -> None:
    """Look at the file of the studies, where there is one.

    Raises:
        DamagedStudy: It is not a whole database.
    """
    path = sqlite_path(url)
    if path is not None and path.exists():
        _check_whole(path)


def _options(url: str) -> dict[str, Any]:
    is_file = url.startswith("sqlite:")
    return {"connect_args": {"timeout": BUSY_SECONDS}} if is_file else {}


def _make(path: Path) -> None:
    """Make a database under another name first: an empty file is then always a damaged one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(path.with_name(f"{path.name}.lock")):
        if path.exists():
            return
        new = path.with_name(f"{path.name}.new")
        new.unlink(missing_ok=True)
        made = Database(f"sqlite:///{new}", str(new))
        made.remove_session()
        made.engine.dispose()
        new.rename(path)


def _check_whole(path: Path) -> None:
    if path.stat().st_size == 0:
        raise _damaged(str(path), "it is empty")
    try:
        uri = f"file:{quote(str(path))}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS)) as connection:
            (found,), *_ = connection.execute("PRAGMA integrity_check(1)")
            ((pages,),) = connection.execute("PRAGMA page_count")
            ((page_bytes,),) = connection.execute("PRAGMA page_size")
    except sqlite3.OperationalError:
        # Locked, or not to be opened: whoever uses it is told.
        raise
    except sqlite3.DatabaseError as error:
        raise _damaged(str(path), str(error)) from error
    if found != "ok":
        raise _damaged(str(path), " ".join(found.split()))
    # SQLite reads what is missing of a last page as zeros.
    missing = pages * page_bytes - path.stat().st_size
    if missing > 0:
        raise _damaged(str(path), f"its last {missing} bytes are missing")


def _damaged(place: str, said: str) -> DamagedStudy:
    return DamagedStudy(
        f"storage.study: {place!r} is damaged: {said}; put a backup of it back, or move it away "
        "to start anew (what was trained is still in the store)"
    )
