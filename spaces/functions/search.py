"""A search whose objective is a function: its dimensions, objectives and resources.

The function trains, and tlc knows no more of it than its values and its metrics.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from spaces.cost.criteria import Criteria
from spaces.cost.inference_cost import Cost
from spaces.cost.metric import Measure
from spaces.errors import UserError
from spaces.file.dimensions import MAX_GRID, Count, PositiveNumber, StrictModel
from spaces.file.resources import Gpus, Placement
from spaces.file.sampler_names import SamplerName
from spaces.file.search_file import NAME_PATTERN, InconsistentFields
from spaces.file.storage import Storage, without_password
from spaces.file.validation_errors import validation_faults

REAL_VALUES = 16
"""Values of a dimension of real numbers where neither ``count`` nor ``step`` is given."""
VALUE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,63}")
COLUMNS = {"trial", "state", "seconds", "started", "finished", "on_frontier", "message"}
RESERVED = {
    "space": COLUMNS | {"number", "seed", "params", "folder", "stage", "stages", "checkpoint",
                        "latest_checkpoint"},
    "objectives": COLUMNS | {"metric", "metrics", "stages", "folder"},
}  # fmt: skip
"""Names that a trial, or its result, has already."""
SECONDS = "seconds"
"""Seconds that a trial took: of trials with equal scores the faster one is better."""
MOST_POINTS = 2**62

Direction = Literal["maximize", "minimize"]
Choice = bool | int | float | str


class FunctionDimension(StrictModel):
    """A dimension: ``choices``, or numbers from ``low`` to ``high``."""

    choices: list[Choice] | None = Field(default=None, min_length=1, max_length=MAX_GRID)
    """The values: texts, booleans or numbers; excludes the other fields."""
    low: int | float | None = None
    """Smallest value."""
    high: int | float | None = None
    """Largest value, reached only if the steps land on it."""
    step: int | float | None = None
    """Distance of neighbours; 1 where ``low`` and ``high`` are whole."""
    log: bool = False
    """Whole numbers double from ``low`` to ``high``; real ones are spaced evenly by their
    logarithms."""
    count: Annotated[int, Field(ge=2, le=MAX_GRID)] | None = None
    """Number of values from ``low`` to ``high``, of real numbers; 16 without it."""

    @model_validator(mode="after")
    def _complete(self) -> FunctionDimension:
        others = (self.low, self.high, self.step, self.count)
        if self.choices is not None:
            if others != (None,) * 4 or self.log:
                raise ValueError("give either choices, or low and high (with step, log or count)")
        elif self.low is None or self.high is None:
            raise ValueError("give choices, or both low and high")
        elif self.high < self.low:
            raise ValueError(f"empty: high ({self.high}) is below low ({self.low})")
        elif self.log and self.low <= 0:
            raise ValueError(f"log needs a low above 0, not {self.low}")
        elif self.step is not None and (self.log or self.count is not None):
            raise ValueError("give step, or log, or count: each says where the values are")
        elif self.step is not None and self.step <= 0:
            raise ValueError(f"step must be above 0, not {self.step}")
        elif self.count is not None and self._is_whole:
            raise ValueError("count is for real numbers; whole numbers have a step, or log")
        elif self._intervals >= MAX_GRID:
            raise ValueError(f"more than {MAX_GRID:,} values; make the step larger")
        if len(set(self.values)) != len(self.values):
            raise ValueError("the values repeat one another")
        return self

    @property
    def _is_whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def _intervals(self) -> float:
        """Distance from ``low`` to ``high``: in doublings, in steps, or in values."""
        assert self.low is not None
        assert self.high is not None
        if self._is_whole and self.log:
            return math.log2(self.high) - math.log2(self.low) + 1e-9
        if self._is_whole or self.step is not None:
            return (self.high - self.low) / (self.step or 1) + 1e-9
        return float((self.count or REAL_VALUES) - 1)

    @property
    def values(self) -> tuple[Choice, ...]:
        """The grid, ascending where it was given by ``low`` and ``high``."""
        if self.choices is not None:
            return tuple(self.choices)
        low, high, intervals = self.low, self.high, int(self._intervals)
        assert low is not None
        assert high is not None
        if self._is_whole and self.log:
            return tuple(int(math.ldexp(low, k)) for k in range(intervals + 1))
        if self._is_whole or self.step is not None:
            # 0.1 + 2 * 0.1 must equal 0.3, because values are hashed.
            steps = (low + k * (self.step or 1) for k in range(intervals + 1))
            whole = self._is_whole and isinstance(self.step or 1, int)
            return tuple(value if whole else round(float(value), 10) for value in steps)
        if low == high:
            return (float(low),)
        inner = (k / intervals for k in range(1, intervals))
        if self.log:
            start, length = math.log(low), math.log(high) - math.log(low)
            between = [float(f"{math.exp(start + part * length):.4g}") for part in inner]
        else:
            between = [round(low + part * (high - low), 10) for part in inner]
        return float(low), *between, float(high)


class FunctionResources(StrictModel):
    """Resources of one trial."""

    cpus: Count = 1
    """CPU cores."""
    gpus: Gpus = 0.0
    """GPUs; below 1, several trials share one."""
    memory_gb: PositiveNumber | None = None
    """Gigabytes (10^9 bytes) of memory to reserve; by default none."""
    progress_deadline_seconds: PositiveNumber = 600.0
    """Seconds without a sign from the process of a trial after which it is killed and continued
    elsewhere. It need not do anything for that, but run."""

    @property
    def placement(self) -> Placement:
        """What its worker occupies."""
        return Placement(cpus=self.cpus, gpus=self.gpus, memory_gb=self.memory_gb)


class FunctionSearch(StrictModel):
    """A search whose objective is a function of the user."""

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    """Name of the search, of its study and of its MLflow experiment."""
    space: dict[str, FunctionDimension] = Field(min_length=1)
    """The dimensions, by the names under which the function finds their values."""
    objectives: dict[str, Direction] = Field(min_length=1, max_length=2)
    """The score that the function returns; and a cost, which is minimised, if there is one."""
    constraints: dict[str, PositiveNumber] = Field(default={})
    """``max_NAME``: the highest allowed value of a metric; metrics with a limit are above 0."""
    sampler: SamplerName = "frontier"
    """``frontier``, which chooses the trial with the highest expected gain per second, one of
    Optuna's samplers, or the grid in its order."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of the sampler, and what the function gets as ``trial.seed``."""
    trials: Annotated[int, Field(ge=1, le=1_000_000)]
    """Trials after which the search ends."""
    hours: PositiveNumber | None = None
    """Hours after which no new trial starts."""
    concurrency: Count | None = None
    """Trials at a time; without it, as many as the cluster has resources for."""
    version: str = ""
    """Of the function: stored stages and checkpoints are those of one version."""
    resources: FunctionResources = FunctionResources()
    address: str | None = None
    """Address of a running Ray cluster; without it, Ray is started on this machine."""
    storage: Storage = Storage()

    @model_validator(mode="after")
    def _is_consistent(self) -> FunctionSearch:
        if faults := [*self._name_faults(), *self._objective_faults()]:
            raise InconsistentFields(faults)
        if math.prod(len(d.values) for d in self.space.values()) > MOST_POINTS:
            raise InconsistentFields(["space: has more than 2^62 points; give fewer values"])
        return self

    def _name_faults(self) -> Iterator[str]:
        for field, names in (("space", self.space), ("objectives", self.required)):
            for name in names:
                if name in RESERVED[field]:
                    yield f"{field}.{name}: trials have this already; give it another name"
                elif not VALUE_NAME.fullmatch(name):
                    yield f"{field}.{name}: a name has letters, digits, _ and ., and no digit first"
        for name in self.required:
            if name == "score" and name not in list(self.objectives)[:1]:
                yield "objectives.score: is the name of the first objective; give it another name"
            if name in self.space:
                yield f"space.{name}: is a metric too; give it another name"

    def _objective_faults(self) -> Iterator[str]:
        score, *costs = self.objectives
        for cost in costs:
            if self.objectives[cost] != "minimize":
                yield (
                    f"objectives.{cost}: the second is a cost, against which {score} is weighed; "
                    f"allowed: minimize, but is {self.objectives[cost]!r}"
                )
        for name in self.constraints:
            if not name.startswith("max_") or not VALUE_NAME.fullmatch(name[4:]):
                yield f"constraints.{name}: must look like max_size_mb"

    @property
    def limits(self) -> dict[str, float]:
        """The highest allowed value of each limited metric, by its name."""
        return {name.removeprefix("max_"): limit for name, limit in self.constraints.items()}

    @property
    def costs(self) -> tuple[str, ...]:
        """Metrics of which less is better and that are above 0: the cost, and what is limited."""
        return tuple(dict.fromkeys([*list(self.objectives)[1:], *self.limits]))

    @property
    def required(self) -> tuple[str, ...]:
        """Metrics that every trial must have."""
        return tuple(dict.fromkeys([*self.objectives, *self.limits]))

    @property
    def criteria(self) -> Criteria:
        """The criteria by which trials are compared."""
        score = next(iter(self.objectives))
        cost = self.costs[0] if len(self.objectives) == 2 else SECONDS
        return Criteria(
            metric=Measure.of(score, is_maximised=self.objectives[score] == "maximize"),
            cost=Cost(cost, noun=cost, unit="", axis=cost, description=cost, less="lower"),
            limits=self.limits,
            is_at_fixed_cost=len(self.objectives) == 1,
            costs=(*self.costs, SECONDS),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can write; ``FunctionSearch.model_validate`` reads them."""
        return self.model_dump(mode="json")

    def to_public_dict(self) -> dict[str, Any]:
        """The same with passwords removed from the URLs."""
        document = self.to_dict()
        document["storage"] = {
            key: without_password(value) if isinstance(value, str) else value
            for key, value in document["storage"].items()
        }
        return document

    def differences(self, other: FunctionSearch) -> list[str]:
        """Names of the fields, of those that determine results, in which another search differs."""
        kept = ("space", "objectives", "constraints", "version", "seed")
        one, two = self.to_dict(), other.to_dict()
        # As text, because the order of dimensions and objectives counts.
        return [name for name in kept if json.dumps(one[name]) != json.dumps(two[name])]


class FunctionSearchError(UserError):
    """A search with a function that cannot be run, with every fault that was found in it."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = faults
        super().__init__("\n".join(f"search: {fault}" for fault in faults))


def read_function_search(
    search: Mapping[str, Any] | FunctionSearch, *, address: str | None = None
) -> FunctionSearch:
    """Validate a search with a function.

    Args:
        address: Of a running Ray cluster; by default the one that it names.

    Raises:
        FunctionSearchError: With every fault that was found, and the path of its field.
    """
    document = search.to_dict() if isinstance(search, FunctionSearch) else dict(search)
    document |= {} if address is None else {"address": address}
    try:
        return FunctionSearch.model_validate(document)
    except ValidationError as error:
        faults = validation_faults(error, document, FunctionSearch.model_json_schema())
        raise FunctionSearchError(faults) from None
