"""Results of trials: a trial finishes in one transaction, which only its current attempt may make,
and all latencies are restated at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from optuna.storages._rdb import models
from optuna.trial import TrialState
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Table,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from search.storage.database_retry import is_retry, retryable
from search.storage.transactions.attributes import exchange_in
from search.storage.trials import ATTEMPT, FAILURE, FINISH, RESULT

_TRIALS: Table = models.TrialModel.__table__
_VALUES: Table = models.TrialValueModel.__table__
_USER: Table = models.TrialUserAttributeModel.__table__
_SYSTEM: Table = models.TrialSystemAttributeModel.__table__


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
            return is_retry() and _has(connection, trial_id, attributes)
        order = _count_finished(connection, trial_id)
        _write(connection, _USER, trial_id, {**attributes, FINISH: order})
        _write(connection, _SYSTEM, trial_id, _excesses(constraints))
        if values is not None:
            finite = models.TrialValueModel.TrialValueType.FINITE
            rows = [
                {"trial_id": trial_id, "objective": objective, "value": value, "value_type": finite}
                for objective, value in enumerate(values)
            ]
            connection.execute(insert(_VALUES), rows)
    return True


@dataclass(frozen=True)
class Restated:
    """What a finished trial records from now on: attributes that it has, objective values, and the
    excess over each constraint, by name."""

    attributes: Mapping[str, Any]
    values: Sequence[float] = ()
    constraints: Mapping[str, float] = field(default_factory=dict)


@retryable
def restate(
    engine: Engine,
    study_id: int,
    exchanged: tuple[str, Any | None, Any],
    restated: Callable[[dict[str, Any]], Restated | None],
) -> bool:
    """Exchange an attribute of a study, and restate its finished trials, in one transaction.

    Args:
        exchanged: The attribute, its old and its new value.
        restated: Called with the result or the failure of each trial, by the name of the attribute;
            None where nothing changes.

    Returns:
        What ``exchange`` returns.
    """
    try:
        with engine.begin() as connection:
            if not exchange_in(connection, study_id, *exchanged):
                return False
            outcomes = _outcomes(connection, study_id)
            changes = {trial: c for trial, each in outcomes if (c := restated(each)) is not None}
            values = {trial: dict(enumerate(each.values)) for trial, each in changes.items()}
            _update(connection, _VALUES.c.objective, _VALUES.c.value, values)
            written = {trial: _json(each.attributes) for trial, each in changes.items()}
            _update(connection, _USER.c.key, _USER.c.value_json, written)
            excesses = {trial: _json(_excesses(c.constraints)) for trial, c in changes.items()}
            _update(connection, _SYSTEM.c.key, _SYSTEM.c.value_json, excesses)
    except IntegrityError:
        return False
    return True


def _outcomes(connection: Connection, study_id: int) -> list[tuple[int, dict[str, Any]]]:
    """The result or the failure of each finished trial, by the name of the attribute."""
    found = connection.execute(
        select(_USER.c.trial_id, _USER.c.key, _USER.c.value_json)
        .join_from(_TRIALS, _USER, _TRIALS.c.trial_id == _USER.c.trial_id)
        .where(_TRIALS.c.study_id == study_id, _USER.c.key.in_((RESULT, FAILURE)))
    )
    return [(trial, {key: json.loads(value)}) for trial, key, value in found]


def _update(
    connection: Connection,
    key: Column[Any],
    column: Column[Any],
    values: Mapping[int, Mapping[Any, Any]],
) -> None:
    """Set a column of a table for some trials, by their ids and then by the value of ``key``."""
    rows = [
        {"trial": trial, "name": name, "new": value}
        for trial, each in values.items()
        for name, value in each.items()
    ]
    if rows:
        own = (key.table.c.trial_id == bindparam("trial"), key == bindparam("name"))
        connection.execute(update(key.table).where(*own).values({column: bindparam("new")}), rows)


def _json(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: json.dumps(value) for name, value in values.items()}


def _excesses(constraints: Mapping[str, float]) -> dict[str, float]:
    """Excess over each constraint, under the names of ``optuna.Trial.set_constraint``."""
    return {f"constraints:{name}": excess for name, excess in constraints.items()}


def _count_finished(connection: Connection, trial_id: int) -> int:
    """Number of finished trials of a trial's study, including itself."""
    study_id = select(_TRIALS.c.study_id).where(_TRIALS.c.trial_id == trial_id).scalar_subquery()
    finished = (TrialState.COMPLETE, TrialState.FAIL)
    counted = select(func.count()).where(
        _TRIALS.c.study_id == study_id, _TRIALS.c.state.in_(finished)
    )
    return connection.execute(counted).scalar_one()


def _has(connection: Connection, trial_id: int, values: Mapping[str, Any]) -> bool:
    """Whether a trial has some user attributes."""
    found = connection.execute(
        select(_USER.c.key, _USER.c.value_json).where(
            _USER.c.trial_id == trial_id, _USER.c.key.in_(list(values))
        )
    )
    return dict(found.tuples().all()) == _json(values)


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
