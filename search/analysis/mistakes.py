"""The mistakes of the model of a trial on the validation split."""

from __future__ import annotations

from objectives.compression import model_file
from objectives.tasks.mistakes import Mistakes, mistakes
from search.registry.export import prepared_data, stored_model
from search.storage.study import Study
from spaces.errors import UserError

SPLIT = "validation"
"""Test data is read once, for the score of the frontier."""


def mistakes_of(study: Study, number: int, most: int) -> Mistakes:
    """What the model of a trial gets wrong.

    Args:
        number: Of the trial.
        most: Mistakes to list.

    Raises:
        UserError: There is no such model or its data was removed, or it predicts no classes.
    """
    record = next((each for each in study.records() if each.number == number), None)
    if record is None or not record.is_complete:
        raise UserError(f"search {study.search.name!r} has no complete trial {number}")
    with stored_model(study, record) as folder:
        return mistakes(model_file.load(folder), prepared_data(study, record), SPLIT, most)
