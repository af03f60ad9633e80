"""Teachers of distillation: the whole checkpoint, trained on the task, and its logits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from objectives.store.store import Store
from objectives.training.trainer import Trainer

TEACHERS = "teachers"
LOGITS = "logits.npy"

Logits = npt.NDArray[np.float32]
"""Of the training examples, ``(examples, classes)``."""


class Teachers:
    """The teacher of each seed of training. Its training is that of a model of the search, and its
    logits are kept in the store, so that both are computed once.

    Args:
        task_of: The task of a seed (``DistilledClassification``) with the whole vocabulary.
    """

    def __init__(
        self,
        store: Store,
        trainer: Trainer,
        task_of: Callable[[int], Any],
    ) -> None:
        self._store = store
        self._trainer = trainer
        self._task_of = task_of
        self._logits: dict[int, Logits] = {}

    def key(self, seed: int) -> str:
        """What determines the logits of a teacher."""
        key: str = self._task_of(seed).teacher_path().key
        return key

    def prepare(self, seed: int) -> None:
        """Train the teacher of a seed, unless its logits are in the store.

        Raises:
            TrainingFailure: Training broke down.
        """
        task, address = self._task_of(seed), self._address(seed)
        with self._store.lock(f"{TEACHERS}-{self.key(seed)}"):
            with self._store.open(address) as folder:
                if folder is not None:
                    return
            state, _ = self._trainer.train(task.teacher_path())
            logits = task.train_logits(state.model)

            def fill(folder: Path) -> None:
                np.save(folder / LOGITS, logits)

            self._store.write(address, fill, is_final=True)

    def logits(self, seed: int) -> Logits:
        """The logits of a teacher that is prepared."""
        if seed not in self._logits:
            with self._store.open(self._address(seed)) as folder:
                if folder is None:
                    raise FileNotFoundError(f"{self._address(seed)} is not in the store")
                self._logits[seed] = np.load(folder / LOGITS, allow_pickle=False)
        return self._logits[seed]

    def _address(self, seed: int) -> str:
        return f"{TEACHERS}/{self.key(seed)}"
