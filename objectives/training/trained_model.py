"""A trained model in memory, and what its training took."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from objectives.training.path import STABLE, TrainingCost, TrainingPath, TrainingState
from objectives.training.recovery import RECOVERY
from spaces.cost.configuration import Configuration

COOLDOWN = "cooldown"
"""All stages between the stable path and recovery."""


@dataclass(frozen=True)
class TrainedModel:
    """A trained model in memory, ready to be compressed in any number of ways.

    Args:
        configuration: What was trained; its compression is the first one asked for.
        path: The end of its training.
        model: The model, on the CPU.
        state: Where training ended.
        cost: What it took.
        seconds: Seconds that this process spent on it.
    """

    configuration: Configuration
    path: TrainingPath
    model: nn.Module
    state: TrainingState
    cost: TrainingCost
    seconds: float

    @property
    def chain(self) -> list[dict[str, Any]]:
        """Facts of its stages, oldest first."""
        return [*self.state.history, self.state.facts(self.path)]

    @property
    def stage_seconds(self) -> dict[str, float]:
        """Seconds that its stages took, whichever trial trained them."""
        seconds = {STABLE: 0.0, COOLDOWN: 0.0, RECOVERY: 0.0}
        for stage in self.chain:
            name = stage["name"] if stage["name"] in seconds else COOLDOWN
            seconds[name] += stage["seconds"]
        return seconds

    def without_cost(self) -> TrainedModel:
        """The same model for its next compression, for which all of its training is reused."""
        cost = TrainingCost(
            steps_reused=self.cost.steps_reused + self.cost.steps_trained,
            seconds_saved=self.cost.seconds_saved + self.cost.seconds_trained,
        )
        return replace(self, cost=cost, seconds=0.0)

    def continued(
        self, path: TrainingPath, state: TrainingState, cost: TrainingCost, seconds: float
    ) -> TrainedModel:
        """The model after further training.

        Args:
            path: Its end; this model is on it.
            state: Where it ended.
            cost: What the whole path took, with the training of this model as reused.
            seconds: Seconds that this process spent on it.
        """
        before = self.cost
        return replace(
            self,
            path=path,
            model=state.model.cpu().eval(),
            state=state,
            cost=TrainingCost(
                steps_trained=before.steps_trained + cost.steps_trained,
                steps_reused=cost.steps_reused - before.steps_trained,
                seconds_trained=before.seconds_trained + cost.seconds_trained,
                seconds_saved=max(0.0, cost.seconds_saved - before.seconds_trained),
            ),
            seconds=self.seconds + seconds,
        )
