"""MLflow's artefacts of a home that was copied or moved.

MLflow records whole paths, so that it would read and write the files of the old home.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from functools import lru_cache
from pathlib import Path

from spaces.errors import UserError
from spaces.file.storage import MLFLOW_ARTIFACTS, MLFLOW_DATABASE

MLFLOW_VERSION = "3.17"
"""Saved views and addresses of pages are written as this version reads them."""
COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Tables and columns with locations of artefacts, in the version of MLflow that tlc requires."""
SCHEMA = "dc11669786a5"
"""Revision of MLflow's tables in that version."""
BUSY_SECONDS = 60


def follow_home(home: Path) -> None:
    """Let the local MLflow of a home name the folder of artefacts where it is now.

    Locations elsewhere, such as those of another tracking server, stay.

    Raises:
        UserError: Its tables are those of another version of MLflow.
    """
    database = home / MLFLOW_DATABASE
    # MLflow itself says what is wrong with its database.
    with suppress(FileNotFoundError, sqlite3.Error):
        # A home that replaced another in this process is followed too.
        _follow(database, database.stat().st_ino)


@lru_cache(maxsize=8)
def _follow(database: Path, inode: int) -> None:
    here = (database.parent / MLFLOW_ARTIFACTS).as_uri()
    with closing(sqlite3.connect(database, timeout=BUSY_SECONDS)) as connection, connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if "alembic_version" in tables:
            _check_schema(database, *connection.execute("SELECT version_num FROM alembic_version"))
        for table, column in COLUMNS:
            if table not in tables:
                continue
            change = f"UPDATE {table} SET {column} = ? WHERE {column} = ?"
            known = connection.execute(f"SELECT DISTINCT {column} FROM {table}").fetchall()
            for (location,) in known:
                moved = None if location is None else _moved(location, here)
                if moved != location:
                    connection.execute(change, (moved, location))
        if connection.total_changes:
            _forget_locations()


def _check_schema(database: Path, found: tuple[str]) -> None:
    if found != (SCHEMA,):
        raise UserError(
            f"{str(database)!r} has schema {found[0]} of MLflow's tables; tlc supports schema "
            f"{SCHEMA}, that of MLflow {MLFLOW_VERSION}, to which mlflow db upgrade "
            f"sqlite:///{database} brings an older one"
        )


def _moved(location: str, here: str) -> str:
    """A location of artefacts below the folder where they are now."""
    _, found, rest = location.partition(f"/{MLFLOW_ARTIFACTS}/")
    return f"{here}/{rest}" if found and location.startswith("file:///") else location


def _forget_locations() -> None:
    """Let MLflow's client in this process read the locations again."""
    from mlflow.tracking._tracking_service import utils

    utils._artifact_repos_cache.clear()
