"""A space that is made wider: whether each configuration of the one before is still one of it, and
is trained as before."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from spaces.cost.compression import Compression
from spaces.cost.configuration import Configuration
from spaces.grid.grid import Dimension, Grid, Point

if TYPE_CHECKING:
    from spaces.grid.search_space import SearchSpace

MOST_SHOWN = 12
"""Values of a dimension that a message lists; of more, the ends."""

Tried = Callable[[str, Any], int]
"""How many trials have a value of a dimension, by its name."""


def widening_faults(before: SearchSpace, after: SearchSpace, tried: Tried) -> list[str]:
    """Why a search cannot go on in another space, each with its field; empty where it can."""
    return [
        *_changed_rules(before, after),
        *left_out(before, after, tried, before.training_values),
        *_changed_names(before, after),
        *_changed_training(before, after),
    ]


def left_out(
    before: Grid, after: Grid, tried: Tried, settings: Collection[str] = ()
) -> Iterator[str]:
    """The dimensions that lack values which they had.

    Args:
        settings: Names of those that are fields of ``training``.
    """
    for old, new in _in_both(before, after):
        known = set(map(_key, new.values))
        lacking = [value for value in old.values if _key(value) not in known]
        if lacking:
            counts = [f"{_text([v])} ({_trials(tried(old.name, v))})" for v in lacking]
            yield (
                f"{_field(old.name, settings)}: leaves out {', '.join(counts)}; the space of a "
                "search can be made wider and not narrower; allowed: all of "
                f"{_text(old.values)}, and further values"
            )


def changed_names(before: Grid, after: Grid) -> tuple[list[str], list[str]]:
    """The dimensions that only the first and only the second of two spaces has."""
    old, new = _by_name(before), _by_name(after)
    return [n for n in old if n not in new], [n for n in new if n not in old]


def widening_text(before: Grid, after: Grid) -> str:
    """The dimensions that changed, such as ``width 64, 128 -> 64, 128, 256``; empty for none."""
    gone, added = changed_names(before, after)
    changes = [
        f"{old.name} {_text(old.values)} -> {_text(new.values)}"
        for old, new in _in_both(before, after)
        if len(old.values) != len(new.values)
    ]
    changes += [f"{name} left out" for name in gone]
    changes += [f"{name} added: {_text(_by_name(after)[name].values)}" for name in added]
    return "; ".join(changes)


def point_of(space: SearchSpace, configuration: Configuration) -> Point | None:
    """The point of a space at which a configuration is, whatever its seed; None where it lacks
    it."""
    point = []
    for dimension in space.dimensions:
        try:
            value = space.expressions.value_of(configuration, dimension.name)
        except AttributeError:
            return None
        same = (i for i, each in enumerate(dimension.values) if _is_same(each, value))
        if (index := next(same, None)) is None:
            return None
        point.append(index)
    found = tuple(point)
    if not space.has(found):
        return None
    return (
        found if space.configuration(found).with_seed(configuration.seed) == configuration else None
    )


def _changed_rules(before: SearchSpace, after: SearchSpace) -> Iterator[str]:
    """What is no dimension, and what the meaning of a point depends on."""
    old, new = before.definition, after.definition
    if old.budget.unit != new.budget.unit:
        yield f"space.budget.unit: is {new.budget.unit}; allowed: {old.budget.unit}, as before"
    if old.compression != new.compression:
        yield f"space.compression: is {new.compression}; allowed: {old.compression}, as before"
    elif before.is_fit:
        for name in (field.name for field in fields(Compression)):
            was, now = (getattr(each, name).values for each in (old, new))
            if was != now:
                yield (
                    f"space.{name}: is {_text(now)}; allowed: {_text(was)}, as before, because "
                    "compression: fit takes one of their combinations for each architecture, and "
                    "would take another than its trials have"
                )


def _changed_names(before: SearchSpace, after: SearchSpace) -> Iterator[str]:
    """Dimensions that are added or left out, unless every model is still one of the space."""
    gone, added = changed_names(before, after)
    of_training = {*before.training_values, *after.training_values}
    changed = [*gone, *added]
    if not changed or (
        not (of_training & {*changed} or before.is_fit)
        and set(before.architectures()) <= set(after.architectures())
    ):
        return
    for name in gone:
        values = _text(_by_name(before)[name].values)
        yield (
            f"{_field(name, of_training)}: was searched and is left out, and trials are told "
            f"apart by it; allowed: {values}, and further values"
        )
    for name in added:
        yield (
            f"{_field(name, of_training)}: was not searched, and not every trial so far is a "
            "point of the space with it; leave it out"
        )


def _changed_training(before: SearchSpace, after: SearchSpace) -> Iterator[str]:
    """Budgets with which the trials so far would be trained in another way."""
    old, new = before.definition.budget.values, after.definition.budget.values
    if min(new) < min(old):
        yield (
            f"space.budget: {min(new):g} is less than {min(old):g}, the smallest so far, of which "
            "training.warmup_fraction is the warm-up of every trial: it would change, and with it "
            f"the trials; allowed: from {min(old):g} on"
        )
    if max(new) > max(old) and before.search.training.distillation is not None:
        yield (
            f"space.budget: {max(new):g} is more than {max(old):g}, the largest so far, with which "
            "the teacher of training.distillation was trained; allowed: up to "
            f"{max(old):g}"
        )


def _by_name(space: Grid) -> Mapping[str, Dimension]:
    return {dimension.name: dimension for dimension in space.dimensions}


def _in_both(before: Grid, after: Grid) -> Iterator[tuple[Dimension, Dimension]]:
    others = _by_name(after)
    return ((old, others[old.name]) for old in before.dimensions if old.name in others)


def _key(value: Any) -> tuple[bool, Any]:
    # True equals 1.
    return isinstance(value, bool), value


def _is_same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, int | float):
        # A ratio that was computed from two sizes.
        return math.isclose(one, other, rel_tol=1e-9)
    return bool(one == other)


def _field(name: str, settings: Collection[str]) -> str:
    return f"space.training.{name}" if name in settings else f"space.{name}"


def _trials(count: int) -> str:
    return "no trial" if not count else f"{count} trial{'s' if count > 1 else ''}"


def _text(values: Sequence[Any]) -> str:
    texts = [f"{v:g}" if isinstance(v, float) else str(v) for v in values]
    if len(texts) <= MOST_SHOWN:
        return ", ".join(texts)
    return f"{', '.join(texts[:3])}, …, {texts[-1]} ({len(texts)} values)"
