"""Atomic writes to Optuna's tables (schema version 12).

Optuna writes a result in several transactions, and overwrites an attribute whatever its value.
Here a trial finishes in one transaction, which only its current attempt may make, and an attribute
is compared with the value that was read before it is set.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from optuna.storages._rdb import models
from optuna.trial import TrialState
from sqlalchemy import Connection, Engine, Table, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from search.storage.database_retry import retryable
from search.storage.trials import ATTEMPT, FINISH

_TRIALS: Table = models.TrialModel.__table__
_VALUES: Table = models.TrialValueModel.__table__
_USER: Table = models.TrialUserAttributeModel.__table__
_SYSTEM: Table = models.TrialSystemAttributeModel.__table__
_STUDY: Table = models.StudyUserAttributeModel.__table__


@retryable
def finish(
    engine: Engine,
    trial_id: int,
    *,
    attempt: int,
    values: Sequence[float] | None,
    attributes: Mapping[str, Any],
    constraints: Mapping[str, float],
) -> bool:
    """Complete a trial with its objective values, or fail it without.

    Args:
        trial_id: Optuna's id of the trial, not its number.
        attempt: The attempt that reports.
        attributes: User attributes to write.
        constraints: Excess over each constraint, by name.

    Returns:
        False when the trial has finished or a later attempt has begun.
    """
    others = select(_USER.c.trial_id).where(
        _USER.c.trial_id == trial_id,
        _USER.c.key == ATTEMPT,
        _USER.c.value_json != json.dumps(attempt),
    )
    state = TrialState.FAIL if values is None else TrialState.COMPLETE
    # Optuna's times are UTC without a zone.
    now = datetime.now(UTC).replace(tzinfo=None)
    with engine.begin() as connection:
        # The write comes first: SQLite locks with it, so that only one of two writers succeeds.
        changed = connection.execute(
            update(_TRIALS)
            .where(_TRIALS.c.trial_id == trial_id, _TRIALS.c.state == TrialState.RUNNING)
            .where(~others.exists())
            .values(state=state, datetime_complete=now)
        )
        if changed.rowcount == 0:
            return False
        order = _count_finished(connection, trial_id)
        _write(connection, _USER, trial_id, {**attributes, FINISH: order})
        # The names are those of optuna.Trial.set_constraint.
        excesses = {f"constraints:{name}": excess for name, excess in constraints.items()}
        _write(connection, _SYSTEM, trial_id, excesses)
        if values is not None:
            finite = models.TrialValueModel.TrialValueType.FINITE
            rows = [
                {"trial_id": trial_id, "objective": objective, "value": value, "value_type": finite}
                for objective, value in enumerate(values)
            ]
            connection.execute(insert(_VALUES), rows)
    return True


@retryable
def exchange(engine: Engine, study_id: int, key: str, old: Any | None, new: Any) -> bool:
    """Compare and set an attribute of a study; ``old`` is None where it had no value.

    Returns:
        False when another process has changed it since it was read.
    """
    written = json.dumps(new)
    try:
        with engine.begin() as connection:
            if old is None:
                row = {"study_id": study_id, "key": key, "value_json": written}
                connection.execute(insert(_STUDY), [row])
                return True
            changed = connection.execute(
                update(_STUDY)
                .where(_STUDY.c.study_id == study_id, _STUDY.c.key == key)
                .where(_STUDY.c.value_json == json.dumps(old))
                .values(value_json=written)
            )
            return changed.rowcount == 1
    except IntegrityError:
        # Another process has inserted the attribute.
        return False


def _count_finished(connection: Connection, trial_id: int) -> int:
    """Number of finished trials of a trial's study, including itself."""
    study_id = select(_TRIALS.c.study_id).where(_TRIALS.c.trial_id == trial_id).scalar_subquery()
    finished = (TrialState.COMPLETE, TrialState.FAIL)
    counted = select(func.count()).where(
        _TRIALS.c.study_id == study_id, _TRIALS.c.state.in_(finished)
    )
    return connection.execute(counted).scalar_one()


def _write(
    connection: Connection, attributes: Table, trial_id: int, values: Mapping[str, Any]
) -> None:
    if not values:
        return
    own = attributes.c.trial_id == trial_id
    connection.execute(delete(attributes).where(own, attributes.c.key.in_(list(values))))
    rows = [
        {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
        for key, value in values.items()
    ]
    connection.execute(insert(attributes), rows)
