"""Atomic writes to Optuna's tables (schema version 12).

Optuna writes a result in several transactions, and overwrites an attribute whatever its value.
Here a trial finishes in one transaction, which only its current attempt may make, an attribute is
compared with the value that was read before it is set, and all latencies are restated at once.
"""

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
    ColumnElement,
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

from search.storage.database_retry import retryable
from search.storage.trials import ATTEMPT, FAILURE, FINISH, RESULT

_TRIALS: Table = models.TrialModel.__table__
_PARAMETERS: Table = models.TrialParamModel.__table__
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
        _write(connection, _SYSTEM, trial_id, _excesses(constraints))
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
    try:
        with engine.begin() as connection:
            return _exchange(connection, study_id, key, old, new)
    except IntegrityError:
        # Another process has inserted the attribute.
        return False


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
            if not _exchange(connection, study_id, *exchanged):
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


@dataclass(frozen=True)
class Parameter:
    """How the trials of a study store a dimension from now on.

    Args:
        distribution: Optuna's distribution, as JSON.
        stored: The number that stands for a value, from the one that stood for it before.
        added: By the number of a trial, the number that stands for its value, where the trials had
            no such dimension.
    """

    distribution: str
    stored: Callable[[float], float] = float
    added: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ParameterChange:
    """A change of what a study's trials store of their dimensions.

    Args:
        replaced: The attribute of the study that defines them, with its old and its new value.
        attributes: Further attributes of the study; None deletes one.
        parameters: The dimensions that change, by name.
        left_out: Dimensions that trials no longer have.
    """

    replaced: tuple[str, Any, Any]
    attributes: Mapping[str, Any]
    parameters: Mapping[str, Parameter]
    left_out: Sequence[str]


@retryable
def change_parameters(engine: Engine, study_id: int, change: ParameterChange) -> bool:
    """Change what the trials of a study store of their dimensions, all in one transaction.

    Returns:
        False when another process has replaced the attribute since it was read: nothing changes.
    """
    trials = select(_TRIALS.c.trial_id).where(_TRIALS.c.study_id == study_id)
    own = _PARAMETERS.c.trial_id.in_(trials)
    with engine.begin() as connection:
        # The write comes first: SQLite locks with it.
        if not _replace(connection, study_id, *change.replaced):
            return False
        _store_again(connection, own, change.parameters)
        connection.execute(
            delete(_PARAMETERS).where(own, _PARAMETERS.c.param_name.in_(change.left_out))
        )
        _add(connection, study_id, change.parameters)
        kept = {key: value for key, value in change.attributes.items() if value is not None}
        connection.execute(
            delete(_STUDY).where(
                _STUDY.c.study_id == study_id, _STUDY.c.key.in_(list(change.attributes))
            )
        )
        rows = [
            {"study_id": study_id, "key": key, "value_json": json.dumps(value)}
            for key, value in kept.items()
        ]
        if rows:
            connection.execute(insert(_STUDY), rows)
    return True


def _store_again(
    connection: Connection, own: ColumnElement[bool], parameters: Mapping[str, Parameter]
) -> None:
    """Rewrite the parameters that trials have."""
    found = connection.execute(
        select(_PARAMETERS.c.param_id, _PARAMETERS.c.param_name, _PARAMETERS.c.param_value).where(
            own, _PARAMETERS.c.param_name.in_(list(parameters))
        )
    )
    rows = [
        {
            "row": row,
            "number": parameters[name].stored(number),
            "json": parameters[name].distribution,
        }
        for row, name, number in found
    ]
    if rows:
        connection.execute(
            update(_PARAMETERS)
            .where(_PARAMETERS.c.param_id == bindparam("row"))
            .values(param_value=bindparam("number"), distribution_json=bindparam("json")),
            rows,
        )


def _add(connection: Connection, study_id: int, parameters: Mapping[str, Parameter]) -> None:
    """Write the parameters that trials lack."""
    numbers = select(_TRIALS.c.number, _TRIALS.c.trial_id).where(_TRIALS.c.study_id == study_id)
    trial_of = dict(connection.execute(numbers).tuples().all())
    rows = [
        {
            "trial_id": trial_of[number],
            "param_name": name,
            "param_value": value,
            "distribution_json": parameter.distribution,
        }
        for name, parameter in parameters.items()
        for number, value in parameter.added.items()
    ]
    if rows:
        connection.execute(insert(_PARAMETERS), rows)


def _exchange(connection: Connection, study_id: int, key: str, old: Any | None, new: Any) -> bool:
    """Compare and set an attribute, which has no value where ``old`` is None.

    Raises:
        IntegrityError: It has a value.
    """
    if old is not None:
        return _replace(connection, study_id, key, old, new)
    row = {"study_id": study_id, "key": key, "value_json": json.dumps(new)}
    connection.execute(insert(_STUDY), [row])
    return True


def _replace(connection: Connection, study_id: int, key: str, old: Any, new: Any) -> bool:
    """Compare and set an attribute of a study; returns whether it had its old value."""
    changed = connection.execute(
        update(_STUDY)
        .where(_STUDY.c.study_id == study_id, _STUDY.c.key == key)
        .where(_STUDY.c.value_json == json.dumps(old))
        .values(value_json=json.dumps(new))
    )
    return changed.rowcount == 1


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
