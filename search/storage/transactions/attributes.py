"""Attributes of a study, compared with the value that was read before they are set; its name."""

from __future__ import annotations

import json
from typing import Any

from optuna.storages._rdb import models
from sqlalchemy import Connection, Engine, Table, insert, select, update
from sqlalchemy.exc import IntegrityError

from search.storage.database_retry import is_retry, retryable

ATTRIBUTES: Table = models.StudyUserAttributeModel.__table__
_STUDIES: Table = models.StudyModel.__table__


@retryable
def exchange(engine: Engine, study_id: int, key: str, old: Any | None, new: Any) -> bool:
    """Compare and set an attribute of a study; ``old`` is None where it had no value.

    Returns:
        False when another process has changed it since it was read.
    """
    try:
        with engine.begin() as connection:
            if exchange_in(connection, study_id, key, old, new):
                return True
    except IntegrityError:
        # Another process has inserted the attribute, or an attempt before this one.
        pass
    return is_retry() and has_value(engine, study_id, key, new)


def has_value(engine: Engine, study_id: int, key: str, value: Any) -> bool:
    """Whether an attribute has a value."""
    own = (ATTRIBUTES.c.study_id == study_id, ATTRIBUTES.c.key == key)
    with engine.connect() as connection:
        found = connection.execute(select(ATTRIBUTES.c.value_json).where(*own)).scalar()
    return found == json.dumps(value)


@retryable
def rename_study(engine: Engine, study_id: int, key: str, name: str) -> bool:
    """Rename a study and the search that it holds, in one transaction.

    Args:
        key: The attribute that holds the search, whose ``name`` it is.

    Returns:
        False when another study has the name.
    """
    own = (ATTRIBUTES.c.study_id == study_id, ATTRIBUTES.c.key == key)
    try:
        with engine.begin() as connection:
            # The write comes first: SQLite locks with it.
            connection.execute(
                update(_STUDIES).where(_STUDIES.c.study_id == study_id).values(study_name=name)
            )
            recorded = connection.execute(select(ATTRIBUTES.c.value_json).where(*own)).scalar_one()
            renamed = json.dumps({**json.loads(recorded), "name": name})
            connection.execute(update(ATTRIBUTES).where(*own).values(value_json=renamed))
    except IntegrityError:
        return False
    return True


def exchange_in(connection: Connection, study_id: int, key: str, old: Any | None, new: Any) -> bool:
    """Compare and set an attribute, which has no value where ``old`` is None.

    Raises:
        IntegrityError: It has a value.
    """
    if old is not None:
        return replace_in(connection, study_id, key, old, new)
    row = {"study_id": study_id, "key": key, "value_json": json.dumps(new)}
    connection.execute(insert(ATTRIBUTES), [row])
    return True


def replace_in(connection: Connection, study_id: int, key: str, old: Any, new: Any) -> bool:
    """Compare and set an attribute of a study; returns whether it had its old value."""
    changed = connection.execute(
        update(ATTRIBUTES)
        .where(ATTRIBUTES.c.study_id == study_id, ATTRIBUTES.c.key == key)
        .where(ATTRIBUTES.c.value_json == json.dumps(old))
        .values(value_json=json.dumps(new))
    )
    return changed.rowcount == 1
