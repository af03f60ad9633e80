"""Tasks whose data is what the section ``data`` of a search file names."""

from __future__ import annotations

from pathlib import Path

from objectives.data.prepare import prepare
from objectives.data.prepared_data import PreparedData
from objectives.data.pretrained_tokenizer import PretrainedTokenizer
from objectives.tasks.base import Task
from spaces.file.base_task import BaseTask
from spaces.file.sources import Data


class FromSources(Task, BaseTask):
    """A task whose data is what the section ``data`` of a search file names."""

    def prepare(
        self, name: str, code: str, sources: Data, root: Path, tokenizer: PretrainedTokenizer | None
    ) -> PreparedData:
        """Read, tokenise and cache the sources, as ``objectives.data.prepare``."""
        return prepare(sources, self, root, tokenizer)
