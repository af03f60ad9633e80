"""What compression costs a model before its learning rate decays."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from objectives.compression.pipeline import compress
from objectives.measurement.latency import torch_threads
from objectives.objective import Objective
from objectives.store.manifest import CHECKPOINTS
from spaces.cost.configuration import Configuration


class UndecayedObjective(Objective):
    """Compresses the checkpoints at which the learning rate of a search's models starts to fall.

    Nothing is trained: these checkpoints are where the budgets of an architecture leave their
    common path, and they are kept for that. Only for tasks without fine-tuning.
    """

    def losses(self, configuration: Configuration) -> tuple[float, float] | None:
        """Validation loss of the checkpoint, dense and compressed; None where it is not stored.

        Args:
            configuration: Of a model that was trained to its end; quantised, not pruned.

        Raises:
            TrialFailure: It could not be compressed.
        """
        task = self._tasks.of(configuration)
        stable = task.path(configuration).chain[-1]
        if stable.address not in self.store.addresses(CHECKPOINTS):
            return None
        model = self._trainer.train(stable)[0].model
        calibration = self._tasks.calibration(configuration)
        with TemporaryDirectory() as folder, torch_threads(self._search.resources.cpus):
            loaded = compress(model, self._spec(configuration), calibration, Path(folder))
            dense, compressed = (task.score(each, "validation") for each in (model, loaded))
        return dense.loss, compressed.loss
