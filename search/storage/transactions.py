"""What has to happen in a study's database at once, or not at all.

Optuna writes a result in several transactions, and overwrites an attribute whatever it was. Here a
trial is told in one, which only its present attempt gets through; and an attribute changes only
from the value that was read. The tables are those of Optuna's RDB storage, schema version 12.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from optuna.storages._rdb import models
from optuna.trial import TrialState
from sqlalchemy import Connection, Engine, Table, and_, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from search.storage.retry import retryable
from search.storage.trials import ATTEMPT, FINISH

_TRIALS: Table = models.TrialModel.__table__
_VALUES: Table = models.TrialValueModel.__table__
_USER: Table = models.TrialUserAttributeModel.__table__
_SYSTEM: Table = models.TrialSystemAttributeModel.__table__
_STUDY: Table = models.StudyUserAttributeModel.__table__
_FINISHED = (TrialState.COMPLETE, TrialState.FAIL)


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
    """Complete a trial with its values, or fail it without, and write what is known of it.

    Args:
        engine: The study's database.
        trial_id: Optuna's number of the trial.
        attempt: Which attempt at the trial tells.
        values: Its values; None where it failed.
        attributes: Its user attributes.
        constraints: By how much each constraint is exceeded, by name.

    Returns:
        False when the trial was finished already, or is another attempt's by now.
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
        # A write comes first: SQLite begins a transaction at it, so that of two only one goes on.
        told = connection.execute(
            update(_TRIALS)
            .where(_TRIALS.c.trial_id == trial_id, _TRIALS.c.state == TrialState.RUNNING)
            .where(~others.exists())
            .values(state=state, datetime_complete=now)
        )
        if told.rowcount == 0:
            return False
        order = _count_finished(connection, trial_id)
        _write(connection, _USER, trial_id, {**attributes, FINISH: order})
        # The names are those of optuna.Trial.set_constraint.
        _write(
            connection,
            _SYSTEM,
            trial_id,
            {f"constraints:{name}": excess for name, excess in constraints.items()},
        )
        if values is not None:
            finite = models.TrialValueModel.TrialValueType.FINITE
            connection.execute(
                insert(_VALUES),
                [
                    {
                        "trial_id": trial_id,
                        "objective": objective,
                        "value": value,
                        "value_type": finite,
                    }
                    for objective, value in enumerate(values)
                ],
            )
    return True


@retryable
def exchange(engine: Engine, study_id: int, key: str, old: Any | None, new: Any) -> bool:
    """Change an attribute of a study if it still is what was read.

    Args:
        engine: The study's database.
        study_id: Optuna's number of the study.
        key: Of the attribute.
        old: What was read; None where there was none.
        new: What it becomes.

    Returns:
        False when somebody else has changed it meanwhile.
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
        # A study has an attribute once.
        return False


def _count_finished(connection: Connection, trial_id: int) -> int:
    """Trials of a trial's study that have finished, itself among them."""
    study_id = select(_TRIALS.c.study_id).where(_TRIALS.c.trial_id == trial_id).scalar_subquery()
    counted = select(func.count()).where(
        and_(_TRIALS.c.study_id == study_id, _TRIALS.c.state.in_(_FINISHED))
    )
    return int(connection.execute(counted).scalar_one())


def _write(
    connection: Connection, attributes: Table, trial_id: int, values: Mapping[str, Any]
) -> None:
    if not values:
        return
    connection.execute(
        delete(attributes).where(
            attributes.c.trial_id == trial_id, attributes.c.key.in_(list(values))
        )
    )
    connection.execute(
        insert(attributes),
        [
            {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
            for key, value in values.items()
        ],
    )
