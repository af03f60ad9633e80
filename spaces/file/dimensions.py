"""Dimensions of a search file: ``choices``, or ``low``, ``high``, ``step`` and ``log``.

Every dimension is a finite, ordered grid of values, so that it can be an ordinal integer in the
study (a categorical dimension cannot be widened later, optuna#2199).
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Generic, TypeVar, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from spaces.cost.architecture import Activation
from spaces.cost.compression import Pruning, Quantisation
from spaces.cost.units import BudgetUnit

T = TypeVar("T")
N = TypeVar("N", int, float)

MAX_GRID = 10_000
MAX_COUNT = 100
"""Values of a dimension of real numbers."""
MAX_TRAINING = 1e30
"""Largest budget in any unit: the steps and FLOPs that it buys can still be computed."""


class StrictModel(BaseModel):
    """Base of every part of the search file: unknown keys, NaN and loose types are refused."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        serialize_by_alias=True,
    )


class Choices(StrictModel, Generic[T]):
    """A dimension given by its values. A single value may be written without ``choices``."""

    choices: list[T] = Field(min_length=1, max_length=MAX_GRID)
    """The values in their order: from small to large, from mild to severe."""

    @model_validator(mode="after")
    def _distinct(self) -> Choices[T]:
        if len(set(self.choices)) != len(self.choices):
            raise ValueError("the choices repeat a value")
        return self

    @property
    def values(self) -> tuple[T, ...]:
        """The grid."""
        return tuple(self.choices)


class Numbers(StrictModel, Generic[N]):
    """A numeric dimension: ``choices``, or ``low`` to ``high`` by ``step`` or by doubling."""

    choices: list[N] | None = Field(default=None, min_length=1, max_length=MAX_GRID)
    """The values; excludes the other fields."""
    low: N | None = None
    """Smallest value."""
    high: N | None = None
    """Largest value, reached only if the steps land on it."""
    step: N | None = None
    """Distance of neighbours; 1 where all numbers are whole."""
    log: bool = False
    """Double from ``low`` up to ``high``, and do not add ``step``."""

    @model_validator(mode="after")
    def _complete(self) -> Numbers[N]:
        if self.choices is not None:
            if self.low is not None or self.high is not None or self.step is not None or self.log:
                raise ValueError("give either choices, or low and high (with step or log)")
            if len(set(self.choices)) != len(self.choices):
                raise ValueError("the choices repeat a value")
            return self
        if self.low is None or self.high is None:
            raise ValueError("give choices, or both low and high")
        if self.high < self.low:
            raise ValueError(f"empty: high ({self.high}) is below low ({self.low})")
        if self.log and self.step is not None:
            raise ValueError("log doubles from low to high, so it excludes step")
        if self.log and self.low <= 0:
            raise ValueError(f"log needs a low above 0, not {self.low}")
        if self.step is not None and self.step <= 0:
            raise ValueError(f"step must be above 0, not {self.step}")
        if not self.log and self.step is None and not isinstance(self.low, int):
            raise ValueError("give a step (or log: true) between low and high")
        if self._intervals() >= MAX_GRID:
            raise ValueError(f"more than {MAX_GRID:,} values; make the step larger")
        return self

    def _intervals(self) -> float:
        """Distance from ``low`` to ``high`` in steps or doublings; infinite where it overflows."""
        assert self.low is not None
        assert self.high is not None
        if self.log:
            return math.log2(self.high) - math.log2(self.low) + 1e-9
        return (self.high - self.low) / (self.step or 1) + 1e-9

    @property
    def values(self) -> tuple[N, ...]:
        """The grid, ascending where it was given by ``low`` and ``high``."""
        if self.choices is not None:
            return tuple(self.choices)
        assert self.low is not None
        low: N = self.low
        indices = range(int(self._intervals()) + 1)
        if self.log:
            return tuple(type(low)(math.ldexp(low, k)) for k in indices)
        step: N = self.step if self.step is not None else type(low)(1)
        # 0.1 + 2 * 0.1 must equal 0.3, because values are hashed.
        return tuple(round(low + k * step, 10) for k in indices)


class RealNumbers(StrictModel, Generic[T]):
    """A dimension of real numbers: ``choices``, or ``count`` values from ``low`` to ``high``."""

    choices: list[T] | None = Field(default=None, min_length=1, max_length=MAX_COUNT)
    """The values; excludes the other fields."""
    low: T | None = None
    """Smallest value."""
    high: T | None = None
    """Largest value."""
    count: Annotated[int, Field(ge=2, le=MAX_COUNT)] | None = None
    """Number of values, with ``low`` and ``high``."""
    log: bool = False
    """Space them evenly by their logarithms, to four digits; without it, by themselves."""

    @model_validator(mode="after")
    def _complete(self) -> RealNumbers[T]:
        ends = (self.low, self.high, self.count)
        if self.choices is not None:
            if ends != (None, None, None) or self.log:
                raise ValueError("give either choices, or low, high and count (with log)")
        elif None in ends:
            raise ValueError("give choices, or low, high and count")
        elif not self._low < self._high:
            raise ValueError(f"empty: high ({self.high}) is not above low ({self.low})")
        elif self.log and self._low <= 0.0:
            raise ValueError(f"log needs a low above 0, not {self.low}")
        if len(set(self.values)) != len(self.values):
            raise ValueError("the values repeat one another")
        return self

    @property
    def _low(self) -> float:
        return cast(float, self.low)

    @property
    def _high(self) -> float:
        return cast(float, self.high)

    @property
    def values(self) -> tuple[float, ...]:
        """The grid, ascending where it was given by ``low`` and ``high``."""
        if self.choices is not None:
            return tuple(cast(list[float], self.choices))
        assert self.count is not None
        inner = (k / (self.count - 1) for k in range(1, self.count - 1))
        if self.log:
            low, high = math.log(self._low), math.log(self._high)
            between = [float(f"{math.exp(low + part * (high - low)):.4g}") for part in inner]
        else:
            # 0.1 + 2 * 0.1 must equal 0.3, because values are hashed.
            between = [round(self._low + part * (self._high - self._low), 10) for part in inner]
        return self._low, *between, self._high


def one_value(value: Any) -> Any:
    """A value that stands alone, as the choices of a dimension."""
    return value if isinstance(value, dict | BaseModel) else {"choices": [value]}


# pydantic's strict mode accepts no string for an enumeration.
QuantisationName = Annotated[Quantisation, Field(strict=False)]
ActivationName = Annotated[Activation, Field(strict=False)]
PruningName = Annotated[Pruning, Field(strict=False)]
UnitName = Annotated[BudgetUnit, Field(strict=False)]

Count = Annotated[int, Field(ge=1)]
PositiveInteger = Annotated[int, Field(ge=1, le=1_000_000)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]

Integers = Annotated[
    Numbers[PositiveInteger],
    BeforeValidator(one_value, json_schema_input_type=PositiveInteger | Numbers[PositiveInteger]),
]
Fractions = Annotated[
    Numbers[Fraction],
    BeforeValidator(one_value, json_schema_input_type=Fraction | Numbers[Fraction]),
]
Recovery = Annotated[float, Field(ge=0.0, le=MAX_TRAINING)]
Recoveries = Annotated[
    Numbers[Recovery],
    BeforeValidator(one_value, json_schema_input_type=Recovery | Numbers[Recovery]),
]
Ratio = Annotated[float, Field(gt=0.0, le=1_000.0)]
Ratios = Annotated[
    Numbers[Ratio],
    BeforeValidator(one_value, json_schema_input_type=Ratio | Numbers[Ratio]),
]
Quantisations = Annotated[
    Choices[QuantisationName],
    BeforeValidator(one_value, json_schema_input_type=QuantisationName | Choices[QuantisationName]),
]
Prunings = Annotated[
    Choices[PruningName],
    BeforeValidator(one_value, json_schema_input_type=PruningName | Choices[PruningName]),
]

Switches = Annotated[
    Choices[bool],
    BeforeValidator(one_value, json_schema_input_type=bool | Choices[bool]),
]
Activations = Annotated[
    Choices[ActivationName],
    BeforeValidator(one_value, json_schema_input_type=ActivationName | Choices[ActivationName]),
]

PositiveNumber = Annotated[float, Field(gt=0.0)]
NonNegativeNumber = Annotated[float, Field(ge=0.0)]
ProperFraction = Annotated[float, Field(gt=0.0, lt=1.0)]
Weight = Annotated[float, Field(gt=0.0, le=1.0)]
Temperature = Annotated[float, Field(ge=0.01, le=100.0)]
"""Of distillation: beyond, logits or the loss leave the range of float32."""
Amount = Annotated[float, Field(gt=0.0, le=MAX_TRAINING)]


class Budgets(Numbers[Amount]):
    """The training budget: a numeric dimension with its unit."""

    unit: UnitName = BudgetUnit.STEPS
    """``steps``, ``tokens``, training ``flops``, or ``seconds`` of training at the speed that is
    measured for each architecture before the search."""
