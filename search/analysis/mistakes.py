"""What the model of a trial gets wrong on the validation split."""

from __future__ import annotations

from objectives.compression import model_file
from objectives.tasks import make_task
from objectives.tasks.causal_lm import CausalLanguageModel
from objectives.tasks.masked_lm import MaskedLanguageModel
from objectives.tasks.mistakes import Mistakes, mistakes
from objectives.tasks.text_generation import TextGeneration
from objectives.tasks.worst_texts import WorstTexts, worst_answers, worst_passages
from search.registry.export import complete_trial, prepared_data, stored_model
from search.storage.study import Study
from spaces.errors import UserError

SPLIT = "validation"
"""Test data is read once, for the score of the frontier."""


class NoErrors(UserError):
    """Models of this task have no errors to list."""


def mistakes_of(study: Study, number: int, most: int) -> Mistakes | WorstTexts:
    """What the model of a trial gets wrong: wrong answers of a classifier, else the worst texts.

    Args:
        number: Of the trial.
        most: Mistakes or texts to list.

    Raises:
        NoErrors: It predicts neither classes nor texts.
        UserError: There is no such model, or its data was removed.
    """
    record = complete_trial(study, number)
    with stored_model(study, record) as folder:
        model, data = model_file.load(folder), prepared_data(study, record)
        task = make_task(study.search.alone(record.configuration.checkpoint), data)
        if isinstance(task, TextGeneration):
            return worst_answers(task, model, SPLIT, most)
        if isinstance(task, CausalLanguageModel | MaskedLanguageModel):
            return worst_passages(task, model, SPLIT, most)
        if not data.label_names:
            raise NoErrors("--errors: the models of this task predict neither classes nor texts")
        return mistakes(model, data, SPLIT, most)
