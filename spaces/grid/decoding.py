"""How many tokens models read and write while their decoding is timed, and what cannot be timed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from spaces.cost.compression import RuntimeName
from spaces.cost.criteria import named_costs
from spaces.cost.workload import Workload
from spaces.file.space import Measurement

if TYPE_CHECKING:
    from spaces.grid.search_space import SearchSpace

USUAL_NEW_TOKENS = 16
DECODING_TASKS = "causal-lm, translation and summarisation"


class DecodingLengths(NamedTuple):
    """Lengths of a timed text.

    Args:
        prompt_tokens: Tokens that are read before the first one is written.
        new_tokens: Tokens that are then written.
    """

    prompt_tokens: int
    new_tokens: int


def decoding_lengths(
    workload: Workload, measurement: Measurement, *, has_decoder: bool
) -> DecodingLengths:
    """The lengths that a search file asks for, or the usual ones.

    Args:
        workload: Of the models that decode.
        has_decoder: Whether a decoder writes apart from what an encoder reads.
    """
    window = workload.sequence_length
    prompt = measurement.prompt_tokens or (window if has_decoder else window // 2)
    room = _room(workload, prompt, has_decoder=has_decoder)
    return DecodingLengths(prompt, measurement.new_tokens or min(USUAL_NEW_TOKENS, room))


def _room(workload: Workload, prompt: int, *, has_decoder: bool) -> int:
    """Tokens that can be written: a decoder starts from a token of its own."""
    if has_decoder:
        return (workload.target_length or workload.sequence_length) - 1
    return workload.sequence_length - prompt


def decoding_faults(space: SearchSpace) -> Iterator[str]:
    """Costs of decoding that a task or a runtime has not, and lengths that are too long."""
    search, limits = space.search, space.criteria.limits
    task, runtime = search.task, search.measurement.runtime
    named = [cost.name for cost in named_costs(search.objectives, limits) if cost.is_of_decoding]
    for name in named:
        field = "objectives" if name in search.objectives else f"constraints.max_{name}"
        if not task.decodes:
            yield (
                f"{field}: models of task {task.name} write no tokens; {name} is a cost of "
                f"{DECODING_TASKS}"
            )
        elif runtime not in (allowed := _runtimes(has_decoder=task.has_decoder)):
            yield (
                f"{field}: {name} of task {task.name} cannot be measured with measurement.runtime "
                f"{runtime}; allowed: {', '.join(allowed)}"
            )
    if named and task.decodes:
        workload = space.workload_of(space.checkpoint)
        yield from _length_faults(workload, search.measurement, has_decoder=task.has_decoder)


def _runtimes(*, has_decoder: bool) -> tuple[RuntimeName, ...]:
    """Those in which models can decode: the ONNX file of two stacks keeps no keys and values."""
    return (RuntimeName.TORCH,) if has_decoder else (RuntimeName.TORCH, RuntimeName.ONNX_RUNTIME)


def _length_faults(
    workload: Workload, measurement: Measurement, *, has_decoder: bool
) -> Iterator[str]:
    lengths = decoding_lengths(workload, measurement, has_decoder=has_decoder)
    if lengths.prompt_tokens > workload.sequence_length:
        yield (
            f"measurement.prompt_tokens: {lengths.prompt_tokens} is more than "
            f"data.sequence_length, {workload.sequence_length}"
        )
        return
    room = _room(workload, lengths.prompt_tokens, has_decoder=has_decoder)
    if lengths.new_tokens > room or room < 2:
        yield (
            f"measurement.new_tokens: {lengths.new_tokens} is impossible: after "
            f"{lengths.prompt_tokens} prompt_tokens, models of this search write at most {room}; "
            "allowed: 2 or more"
        )
