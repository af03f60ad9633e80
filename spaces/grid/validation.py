"""Validation of a search space: combinations of valid fields that cannot work."""

from __future__ import annotations

import itertools

from spaces.cost.architecture import Architecture
from spaces.cost.checkpoint import Checkpoint, checkpoint_of
from spaces.cost.compression import SEMI_STRUCTURED_SPARSITY, Pruning, RuntimeName
from spaces.cost.families import UNTIED_HEADS, has_decoder
from spaces.cost.inference_cost import COSTS
from spaces.cost.units import MIN_STEPS
from spaces.expression import TEXTS
from spaces.file.space import CUT_DOWN
from spaces.grid.decoding import decoding_faults
from spaces.grid.expressions import KNOWN_COSTS, NUMBERS
from spaces.grid.search_space import CHECKPOINT, SearchSpace


def space_faults(space: SearchSpace) -> list[str]:
    """Faults of a space: each names a field, its value, and what is allowed."""
    if space.parts:
        return _faults_of_parts(space)
    return (
        [
            *_architecture_faults(space),
            *_group_faults(space),
            *_name_faults(space),
            *_runtime_faults(space),
            *decoding_faults(space),
        ]
        or _pruning_faults(space)
        or [*_recovery_faults(space), *_budget_faults(space), *_constraint_faults(space)]
    )


def _faults_of_parts(space: SearchSpace) -> list[str]:
    """Values that no checkpoint has, checkpoints that have no value of a dimension, and the faults
    of the space of each."""
    wholes = {
        name: checkpoint_of(part.workload_of(name).checkpoint) for name, part in space.parts.items()
    }
    faults = []
    for dimension in space.dimensions:
        if dimension.name not in CUT_DOWN:
            continue
        kept = {
            name: next(d.values for d in part.dimensions if d.name == dimension.name)
            for name, part in space.parts.items()
        }
        for value in dimension.values:
            if not any(value in own for own in kept.values()):
                reasons = "; ".join(
                    f"{name}: {whole.fault(dimension.name, value)}"
                    for name, whole in wholes.items()
                )
                faults.append(f"space.{dimension.name}: no checkpoint can have {value}: {reasons}")
                break
        faults += [
            f"model.from: {name} can have no value of space.{dimension.name}; leave it out"
            for name, own in kept.items()
            if not own
        ]
    if faults:
        return faults
    return [
        f"model.from: {name}: {fault}"
        for name, part in space.parts.items()
        for fault in space_faults(part)
    ]


def _architecture_faults(space: SearchSpace) -> list[str]:
    workload = space.workload_of(space.checkpoint)
    if workload.checkpoint:
        return _checkpoint_faults(space, checkpoint_of(workload.checkpoint))
    definition = space.definition
    faults = []
    name = "heads" if definition.head_width is None else "head_width"
    dimension = getattr(definition, name)
    field = "width" if dimension is None else name
    all_heads = (None,) if dimension is None else dimension.values
    for width, heads in itertools.product(definition.width.values, all_heads):
        try:
            architecture = Architecture.of(1, width, **{name: heads})
        except ValueError as error:
            faults.append(f"space.{field}: {error}")
            continue
        if workload.family.has_rotary_positions and architecture.head_width % 2:
            # Rotary embeddings rotate pairs of channels: most odd numbers raise, one becomes two.
            faults.append(
                f"space.{field}: the {architecture.heads} heads of a width of {width} have "
                f"{architecture.head_width} channels each; task {space.task.name} needs an even "
                "number of channels"
            )
    if definition.tied_embeddings is not None and workload.family not in UNTIED_HEADS:
        families = ", ".join(UNTIED_HEADS)
        faults.append(
            f"space.tied_embeddings: models of the family {workload.family} have no choice, which "
            f"those of {families} have; leave it out"
        )
    ratios = definition.feed_forward_ratio
    for width, ratio in itertools.product(definition.width.values, ratios.values if ratios else ()):
        try:
            Architecture.of(1, width, heads=1, feed_forward_ratio=ratio)
        except ValueError as error:
            faults.append(f"space.feed_forward_ratio: {error}")
    return faults


def _checkpoint_faults(space: SearchSpace, checkpoint: Checkpoint) -> list[str]:
    """Values of dimensions that ask for more than a checkpoint has."""
    definition = space.definition
    whole = {"depth": checkpoint.depth, "width": checkpoint.attention}
    faults = []
    for name in CUT_DOWN:
        dimension = getattr(definition, name)
        for value in () if dimension is None else dimension.values:
            try:
                space.architecture({**whole, name: value})
            except ValueError as error:
                faults.append(f"space.{name}: {error}")
                break
    workload = space.workload_of(space.checkpoint)
    for field in ("sequence_length", "target_length"):
        length = getattr(workload, field)
        if checkpoint.positions and length > checkpoint.positions:
            faults.append(
                f"data.{field}: {length} is more than the {checkpoint.positions} positions of the "
                "checkpoint"
            )
    return faults


def _group_faults(space: SearchSpace) -> list[str]:
    definition = space.definition
    largest, narrowest = max(definition.group_size.values), min(definition.width.values)
    if any(q.has_codes for q in definition.quantisation.values) and largest > narrowest:
        return [f"space.group_size: {largest} is more than the smallest width, {narrowest}"]
    if min(definition.group_size.values) < 2:
        return ["space.group_size: must be at least 2"]
    return []


def _runtime_faults(space: SearchSpace) -> list[str]:
    if space.search.measurement.runtime is RuntimeName.TORCH:
        if "memory_mb" not in space.criteria.costs or not space.workload_of(space.checkpoint).own:
            return []
        return [
            "memory_mb: the models of a task of your own can be made in its own process alone, and "
            "memory is that of another; allowed with measurement.runtime: onnxruntime"
        ]
    return [
        f"space.quantisation: {quantisation} is impossible with measurement.runtime "
        f"{space.search.measurement.runtime}: the bytes of its file depend on the bits that the "
        "trained model gets; every other quantisation is allowed"
        for quantisation in space.definition.quantisation.values
        if quantisation.is_mixed
    ][:1]


def _pruning_faults(space: SearchSpace) -> list[str]:
    if Pruning.SEMI_STRUCTURED not in space.definition.pruning.values:
        return []
    allowed = (0.0, SEMI_STRUCTURED_SPARSITY)
    wrong = [s for s in space.definition.sparsity.values if s not in allowed]
    return [
        f"space.sparsity: {sparsity:g} is impossible with pruning 2:4, which removes half; "
        "allowed: 0, 0.5"
        for sparsity in wrong[:1]
    ]


def _recovery_faults(space: SearchSpace) -> list[str]:
    given = {
        "training.recovery_distillation": space.schedule.has_taught_recovery,
        "training.recovery_start": space.recovery_start != "end",
    }
    has_recovery = not any(given.values()) or any(
        each.compression.effective(each.architecture).recovery
        for each in space.compressed_architectures()
    )
    faults = [
        f"{field}: no model of this space has a recovery, which follows pruning or "
        "quantisation (but not to mixed bits); give space.recovery"
        for field, is_given in given.items()
        if is_given and not has_recovery
    ]
    if space.schedule.has_taught_recovery and space.workload_of(space.checkpoint).outputs == 1:
        faults.append(
            f"training.recovery_distillation: the models of {space.task.name} predict no classes; "
            "leave it out"
        )
    return faults


def _budget_faults(space: SearchSpace) -> list[str]:
    schedule, largest = space.schedule, space.largest_architecture
    if not schedule.knows_steps_of(largest):
        # In seconds: budgets that turn out to buy too few steps are not tried.
        return []
    budget = min(space.definition.budget.values)
    recovery = min((r for r in space.definition.recovery.values if r > 0.0), default=0.0)
    steps = space.steps(budget, largest, recovery=recovery)
    required = [("space.budget", budget, steps.pretraining, MIN_STEPS)]
    if recovery > 0.0:
        required.append(("space.recovery", recovery, steps.recovery, 1))
    faults = [
        f"{field}: {amount:g} {schedule.unit} is only {count} steps for the largest model, "
        f"{largest}; the minimum is {minimum}"
        for field, amount, count, minimum in required
        if count < minimum
    ]
    if steps.pretraining >= MIN_STEPS and steps.decay < 1:
        faults.append(
            f"training.decay_fraction: {schedule.decay_fraction:g} of the {steps.pretraining} "
            f"steps that {budget:g} {schedule.unit} buy for the largest model, {largest}, is less "
            "than one step"
        )
    return faults


def _field(index: int) -> str:
    return f"constraints.expressions.{index}"


def _name_faults(space: SearchSpace) -> list[str]:
    """Names in the expressions of constraints that this space has not, and texts that are none of
    their values."""
    texts = {
        name: [str(value) for value in values]
        for name, values in space.definition.values().items()
        if name in TEXTS
    }
    allowed = {*NUMBERS, *KNOWN_COSTS, *texts, *space.training_values}
    if space.checkpoint:
        allowed.add(CHECKPOINT)
    if has_decoder(space.workload_of(space.checkpoint)):
        allowed.add("decoder_depth")
    for name in ("vocabulary", "tied_embeddings"):
        if getattr(space.definition, name) is not None:
            allowed.add(name)
    faults = []
    for index, each in enumerate(space.expressions.expressions):
        faults += [
            f"{_field(index)}: {name} is not known; allowed: {', '.join(sorted(allowed))}"
            for name in sorted(each.names - allowed)
        ]
        faults += [
            f"{_field(index)}: {name} is never {text!r}; it is one of {', '.join(texts[name])}"
            for name, text in sorted(each.compared)
            if name in texts and text not in texts[name]
        ]
    return faults


def _constraint_faults(space: SearchSpace) -> list[str]:
    least, _ = space.extreme_costs()
    smallest = {"size_mb": least.size_mb, "flops": least.flops}
    faults = [
        f"constraints.max_{name}: {limit:g} is below the smallest {COSTS[name].noun} in this "
        f"space, {smallest[name]:.3g}"
        for name, limit in space.criteria.limits.items()
        if limit < smallest.get(name, 0.0)
    ]
    if faults or any(map(space.is_feasible, space.compressed_architectures())):
        return faults
    constraints = space.expressions
    for index, each in enumerate(constraints.expressions):
        known = (constraints.is_met(each, c) for c in space.compressed_architectures())
        if not any(known):
            faults.append(f"{_field(index)}: {each.text!r} holds for no model of this space")
    if faults:
        return faults
    if any(space.cost(each).is_smaller for each in space.compressed_architectures()):
        texts = "".join(f"; {each.text}" for each in constraints.expressions)
        return [f"constraints: no model of this space meets all of them together{texts}"]
    return [
        "space.sparsity: no compression of this space makes a model smaller than its dense "
        "weights; give larger values, or 0"
    ]
