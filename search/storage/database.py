"""The database of the studies: one engine for each in a process, and refused when damaged."""

from __future__ import annotations

import json
import logging
import sqlite3
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import quote

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import URL, Table, inspect, make_url, select
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.orm import Session

from objectives.store.locks import exclusive_lock
from search.process_state import set_level
from search.storage.database_retry import is_retry, is_transient, reason, retryable
from search.storage.errors import DamagedStudy, StudyError, StudyUnavailable
from spaces.cost.criteria import Criteria
from spaces.errors import UserError, require_version
from spaces.file.storage import without_password

BUSY_SECONDS = 60
"""Seconds that SQLite waits for a lock."""
SEARCH = "tlc:search"
"""Attribute of a study with its search file; studies of other programs lack it."""

FUNCTION = "tlc:function"
"""Attribute of a study whose objective is a function of the user, with its search."""

OPTUNA_VERSION = "5.0"
SCHEMA = "v3.2.0.a"
"""Revision of Optuna's tables that are read and written directly, by the name of its migration."""

_STUDIES: Table = models.StudyModel.__table__
_ATTRIBUTES: Table = models.StudyUserAttributeModel.__table__
_NAMES = select(_STUDIES.c.study_name).join_from(
    _STUDIES, _ATTRIBUTES, _STUDIES.c.study_id == _ATTRIBUTES.c.study_id
)

_connecting = Lock()
_created: ContextVar[list[int]] = ContextVar("_created")
"""Ids that the attempts at creating a trial gave it."""


class Database(RDBStorage):
    """Optuna's storage, whose transactions can be retried while the database is unavailable.

    Args:
        name: For messages: the URL without its password, or the path of the file.

    Raises:
        StudyError: Its tables are not those that are read and written here.
    """

    def __init__(self, url: str, name: str) -> None:
        self.name = name
        # PostgreSQL allows 100 connections by default, to all processes together. One that it
        # closed when it restarted is detected before it is used.
        options: dict[str, Any] = {"pool_size": 5, "max_overflow": 5, "pool_pre_ping": True}
        if url.startswith("sqlite:"):
            options["connect_args"] = {"timeout": BUSY_SECONDS}
        # Optuna's own check says what to do for Optuna, and reads all its migrations for it.
        super().__init__(url, engine_kwargs=options, skip_compatibility_check=True)
        self._check_schema()

    def _create_new_trial(
        self, study_id: int, template_trial: FrozenTrial | None = None
    ) -> FrozenTrial:
        """Create a trial, once, also where the reply to a COMMIT is lost."""
        token = _created.set([])
        try:
            return _create_new_trial(self, study_id, template_trial)
        finally:
            _created.reset(token)

    def _get_prepared_new_trial(
        self, study_id: int, template_trial: FrozenTrial | None, session: Session
    ) -> models.TrialModel:
        # A server gives no id again, also where a transaction fails. Without one, no reply is lost.
        is_server = self.engine.dialect.name != "sqlite"
        for earlier in _created.get() if is_server else ():
            if (found := session.get(models.TrialModel, earlier)) is not None:
                return found
        trial = super()._get_prepared_new_trial(study_id, template_trial, session)
        _created.get().append(int(trial.trial_id))
        return trial

    @retryable
    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Set the state of a trial; returns whether it was set, by this attempt or an earlier
        one."""
        if super().set_trial_state_values(trial_id, state, values):
            return True
        return is_retry() and bool(super().get_trial(trial_id).state == state)

    def _check_schema(self) -> None:
        if (found := self.get_current_version()) != SCHEMA:
            raise StudyError(
                f"storage.study: {self.name!r} has schema {found} of Optuna's tables; tlc reads "
                f"and writes schema {SCHEMA}, that of Optuna {OPTUNA_VERSION}, to which optuna "
                "storage upgrade --storage URL brings an older one"
            )
        there = {
            table: {column["name"] for column in columns}
            for (_, table), columns in inspect(self.engine).get_multi_columns().items()
        }
        lacking = [
            f"{table.name}.{column.name}"
            for table in models.BaseModel.metadata.sorted_tables
            for column in table.columns
            if column.name not in there.get(table.name, ())
        ]
        if lacking:
            raise StudyError(
                f"storage.study: {self.name!r} lacks {', '.join(lacking)} of schema {SCHEMA} of "
                "Optuna's tables; restore it from a backup"
            )


_create_new_trial = retryable(RDBStorage._create_new_trial)

for _name in (
    "_get_trials",
    "_set_trial_param",
    "get_study_system_attrs",
    "get_study_user_attrs",
    "get_trial",
    "get_trial_id_from_study_id_trial_number",
    "get_trial_system_attrs",
    "set_study_system_attr",
    "set_study_user_attr",
    "set_trial_system_attr",
    "set_trial_user_attr",
):
    # What a lease holder calls, through Optuna's cache; each is one transaction.
    setattr(Database, _name, retryable(getattr(RDBStorage, _name)))


def open_database(url: str) -> Database:
    """Open the database of the studies; create it where it does not exist.

    Raises:
        DamagedStudy: The file exists and is not a whole database.
        StudyUnavailable: It cannot be opened.
    """
    path = sqlite_path(url)
    with _opening(url):
        if path is not None and not path.exists():
            _create(path)
        refuse_damaged(url)
    return shared_database(url)


def shared_database(url: str) -> Database:
    """This process's one connection pool to an existing database: every study in it, every thread.

    Raises:
        DamagedStudy: The file is not a whole database; checked when it is first connected to.
        StudyUnavailable: It cannot be opened.
    """
    path = sqlite_path(url)
    with _opening(url), _connecting:
        # A file that replaced another, such as a backup, is another database.
        return _connect(url, None if path is None else path.stat().st_ino)


def optuna_study(storage: Database, name: str, criteria: Criteria) -> optuna.Study:
    """Optuna's study of a name, created where there is none, with the objectives of a search."""
    # Its warnings only, and none that something that is used here may change.
    set_level(logging.WARNING, "optuna")
    warnings.filterwarnings("ignore", category=ExperimentalWarning)
    ways = [
        StudyDirection.MAXIMIZE if metric.is_maximised else StudyDirection.MINIMIZE
        for metric in criteria.metrics
    ]
    costs = len(criteria.objectives) - len(ways)
    return optuna.create_study(
        storage=storage,
        study_name=name,
        directions=[*ways, *[StudyDirection.MINIMIZE] * costs],
        load_if_exists=True,
    )


def study_names(url: str, kind: str = SEARCH) -> list[str]:
    """Names of the searches in a storage.

    Args:
        kind: The attribute that holds them, ``SEARCH`` or ``FUNCTION``.
    """
    path = sqlite_path(url)
    if path is not None and not path.exists():
        return []
    database = shared_database(url)
    with translated_errors(database), database.engine.connect() as connection:
        return sorted(connection.execute(_NAMES.where(_ATTRIBUTES.c.key == kind)).scalars())


@contextmanager
def translated_errors(database: Database) -> Iterator[None]:
    """Raise this package's errors for those of Optuna and SQLAlchemy.

    Raises:
        DamagedStudy: What it holds is not what was written.
        StudyUnavailable: It cannot be reached.
    """
    try:
        yield
    except json.JSONDecodeError as error:
        raise _damaged(database.name, f"a value is no JSON: {error}") from error
    except (StorageInternalError, SQLAlchemyError) as error:
        message = reason(error)
        if not is_transient(error) and ("malformed" in message or "not a database" in message):
            raise _damaged(database.name, message) from error
        raise StudyUnavailable(
            f"storage.study: {database.name!r} cannot be read: {message}"
        ) from error


def sqlite_path(url: str) -> Path | None:
    """The file of the studies; None for a database server, and where the URL is none."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return None
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        return None
    return Path(parsed.database).absolute()


def refuse_damaged(url: str) -> None:
    """Check the file of the studies, where there is one.

    Raises:
        DamagedStudy: It is not a whole database.
    """
    path = sqlite_path(url)
    if path is not None and path.exists():
        _check_integrity(path)


@contextmanager
def _opening(url: str) -> Iterator[None]:
    name = without_password(url)
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        # SQLAlchemy and its drivers raise classes of their own for a wrong URL.
        raise StudyUnavailable(
            f"storage.study: {name!r} cannot be opened: {reason(error)}"
        ) from error


@lru_cache(maxsize=8)
def _connect(url: str, inode: int | None) -> Database:
    # Its tables are read and written directly.
    require_version("optuna", OPTUNA_VERSION)
    path = sqlite_path(url)
    if path is None:
        return Database(url, without_password(url))
    _check_integrity(path)
    # Without mode=rw, SQLite creates an empty file where the database was deleted.
    return Database(_url(f"file:{quote(str(path))}", mode="rw", uri="true"), str(path))


def _url(database: str, **query: str) -> str:
    """URL of a SQLite database, without the braces that Optuna would replace."""
    url = URL.create("sqlite", database=database, query=query)
    return url.render_as_string(hide_password=False)


def _create(path: Path) -> None:
    """Create a database under another name first, so that an empty file is always a damaged one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(path.with_name(f"{path.name}.lock")):
        if path.exists():
            return
        new = path.with_name(f"{path.name}.new")
        new.unlink(missing_ok=True)
        database = Database(_url(str(new)), str(new))
        database.remove_session()
        database.engine.dispose()
        new.rename(path)


def _check_integrity(path: Path) -> None:
    if path.stat().st_size == 0:
        raise _damaged(str(path), "it is empty")
    try:
        uri = f"file:{quote(str(path))}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS)) as connection:
            (result,), *_ = connection.execute("PRAGMA integrity_check(1)")
            ((pages,),) = connection.execute("PRAGMA page_count")
            ((page_bytes,),) = connection.execute("PRAGMA page_size")
    except sqlite3.OperationalError:
        # Locked, or without permission: the first use of the database raises it again.
        raise
    except sqlite3.DatabaseError as error:
        raise _damaged(str(path), str(error)) from error
    if result != "ok":
        raise _damaged(str(path), " ".join(result.split()))
    # SQLite reads the missing part of a last page as zeros.
    missing = pages * page_bytes - path.stat().st_size
    if missing > 0:
        raise _damaged(str(path), f"its last {missing} bytes are missing")


def _damaged(name: str, problem: str) -> DamagedStudy:
    return DamagedStudy(
        f"storage.study: {name!r} is damaged: {problem}; restore it from a backup, or move it away "
        "to start again (trained models are still in the store)"
    )
