"""What quantisation costs the checkpoints before the decay: measuring and recording it."""

from __future__ import annotations

from objectives.failures import TrialFailure
from search.analysis.claims.observations import UNDECAYED, undecayed_losses
from search.execution.listener import Listener
from search.storage.study import Study
from spaces.cost.configuration import Configuration

MOST_BITS = 4
"""More bits cost too little to tell two costs apart."""


def measure_undecayed(study: Study, listener: Listener) -> None:
    """Quantise the stored checkpoints before the decay as the models after it were quantised.

    Trains nothing, and leaves out what was measured before. Tasks with fine-tuning have none: their
    checkpoints before the decay cannot do the task.
    """
    if study.search.task.has_fine_tuning:
        return
    from objectives.undecayed import UndecayedObjective

    known = dict(undecayed_losses(study))
    wanted = [
        record.configuration
        for record in study.records()
        if record.is_complete
        and _is_quantised(record.configuration)
        and record.configuration.hash not in known
    ]
    if not wanted:
        return
    listener.info(f"{study.search.name}: quantising {len(wanted)} models before their decay …")
    speeds = {shape: speed.steps_per_second for shape, speed in study.speeds.all().items()}
    objective = UndecayedObjective(study.search, speeds=speeds)
    for configuration in wanted:
        try:
            losses = objective.losses(configuration)
        except TrialFailure as failure:
            listener.warn(f"{configuration} before its decay: {failure}")
            continue
        if losses is not None:
            known[configuration.hash] = losses
    study.optuna.set_user_attr(UNDECAYED, known)


def _is_quantised(configuration: Configuration) -> bool:
    compression = configuration.canonical().compression
    return compression.quantisation.bits <= MOST_BITS and compression.sparsity == 0
