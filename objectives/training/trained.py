"""A trained model in memory, and what its training took."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from objectives.training.paths import STABLE, Account, Point, TrainingPath
from objectives.training.recovery import RECOVERY
from spaces.cost.configuration import Configuration


@dataclass(frozen=True)
class Trained:
    """A trained model in memory, ready to be compressed in any number of ways.

    Args:
        configuration: What was trained; its compression is the first one asked for.
        path: The end of its training.
        model: The model, on the CPU.
        point: Where training left it.
        account: What it took.
        seconds: Seconds that this process spent on it.
    """

    configuration: Configuration
    path: TrainingPath
    model: nn.Module
    point: Point
    account: Account
    seconds: float

    @property
    def chain(self) -> list[dict[str, Any]]:
        """Facts of its stages, oldest first."""
        return [*self.point.history, self.point.facts(self.path)]

    @property
    def seconds_of_stages(self) -> dict[str, float]:
        """Seconds that its stages took, whoever trained them: stable, cooldown and recovery."""
        seconds = {STABLE: 0.0, "cooldown": 0.0, RECOVERY: 0.0}
        for stage in self.chain:
            kind = stage["name"] if stage["name"] in seconds else "cooldown"
            seconds[kind] += stage["seconds"]
        return seconds

    def without_cost(self) -> Trained:
        """The same model for its next compression, which gets the whole training for nothing."""
        account = Account(
            steps_reused=self.account.steps_reused + self.account.steps_trained,
            seconds_saved=self.account.seconds_saved + self.account.seconds_trained,
        )
        return replace(self, account=account, seconds=0.0)

    def continued(
        self, path: TrainingPath, point: Point, account: Account, seconds: float
    ) -> Trained:
        """The model after further training.

        Args:
            path: Its end; this model is on it.
            point: Where it left the model.
            account: What the whole path took, with this model's part as reused.
            seconds: Seconds that this process spent on it.
        """
        before = self.account
        return replace(
            self,
            path=path,
            model=point.model.cpu().eval(),
            point=point,
            account=Account(
                steps_trained=before.steps_trained + account.steps_trained,
                steps_reused=account.steps_reused - before.steps_trained,
                seconds_trained=before.seconds_trained + account.seconds_trained,
                seconds_saved=max(0.0, account.seconds_saved - before.seconds_trained),
            ),
            seconds=self.seconds + seconds,
        )
