"""What trials store of their dimensions, changed for all of them at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.storages._rdb import models
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Table,
    bindparam,
    delete,
    insert,
    select,
    update,
)

from search.storage.database_retry import is_retry, retryable
from search.storage.transactions.attributes import ATTRIBUTES, has_value, replace_in

_TRIALS: Table = models.TrialModel.__table__
_PARAMETERS: Table = models.TrialParamModel.__table__


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
        if not replace_in(connection, study_id, *change.replaced):
            key, _, new = change.replaced
            return is_retry() and has_value(engine, study_id, key, new)
        _store_again(connection, own, change.parameters)
        connection.execute(
            delete(_PARAMETERS).where(own, _PARAMETERS.c.param_name.in_(change.left_out))
        )
        _add(connection, study_id, change.parameters)
        kept = {key: value for key, value in change.attributes.items() if value is not None}
        connection.execute(
            delete(ATTRIBUTES).where(
                ATTRIBUTES.c.study_id == study_id, ATTRIBUTES.c.key.in_(list(change.attributes))
            )
        )
        rows = [
            {"study_id": study_id, "key": key, "value_json": json.dumps(value)}
            for key, value in kept.items()
        ]
        if rows:
            connection.execute(insert(ATTRIBUTES), rows)
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
