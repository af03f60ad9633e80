"""The tasks, one file each."""

from __future__ import annotations

from collections.abc import Callable

from objectives.data.prepared_data import PreparedData
from objectives.tasks.base import Task
from objectives.tasks.causal_lm import CausalLanguageModel
from objectives.tasks.classification import Classification
from objectives.tasks.image_classification import ImageClassification
from objectives.tasks.masked_lm import MaskedLanguageModel
from objectives.tasks.translation import Translation
from spaces.file.search_file import SearchFile

_TASKS: dict[str, Callable[[SearchFile, PreparedData], Task]] = {
    "classification": Classification,
    "masked-lm": MaskedLanguageModel,
    "causal-lm": CausalLanguageModel,
    "translation": Translation,
    "image-classification": ImageClassification,
}


def make_task(search: SearchFile, data: PreparedData) -> Task:
    """The task that a search file names, on its prepared data."""
    return _TASKS[search.task.name](search, data)
