"""A search whose objective is a function: its dimensions, objectives and resources.

The function trains, and tlc knows no more of it than its values and its metrics.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError, model_validator

from spaces.cost.criteria import Criteria
from spaces.cost.inference_cost import Cost
from spaces.cost.metric import Measure
from spaces.errors import UserError
from spaces.expression import LONGEST, Expression
from spaces.file.dimensions import Count, PositiveNumber, StrictModel
from spaces.file.resources import Gpus, Placement, Retries
from spaces.file.sampler_names import SamplerName, sampler_faults
from spaces.file.search_file import InconsistentFields
from spaces.file.search_file import Name as SearchName
from spaces.file.space import MOST_EXPRESSIONS
from spaces.file.storage import Storage, without_password
from spaces.file.validation_errors import validation_faults
from spaces.functions.dimension import FunctionDimension

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
    nodes_deadline_seconds: PositiveNumber = 1800.0
    """Longest time that a search with ``address`` and ``concurrency`` waits for an autoscaler to
    add nodes for a trial, before its first one."""
    retries: Retries = Retries()
    """How often a trial is continued without progress."""

    @property
    def placement(self) -> Placement:
        """What its worker occupies."""
        return Placement(cpus=self.cpus, gpus=self.gpus, memory_gb=self.memory_gb)


class FunctionConstraints(StrictModel):
    """``max_NAME``, the highest allowed value of a metric, which is then above 0; and
    ``expressions``."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, PositiveNumber] = Field(init=False)

    expressions: list[Annotated[str, Field(max_length=LONGEST)]] = Field(
        default=[], max_length=MOST_EXPRESSIONS
    )
    """Conditions that values have to meet before a trial, such as ``feed_forward >= 2 * width``,
    over dimensions and over costs that are known before a trial."""

    @property
    def limits(self) -> dict[str, float]:
        """The highest allowed value of each limited metric, by its name."""
        return {name.removeprefix("max_"): limit for name, limit in self.__pydantic_extra__.items()}


class FunctionSearch(StrictModel):
    """A search whose objective is a function of the user."""

    name: SearchName
    """Name of the search, of its study and of its MLflow experiment."""
    space: dict[str, FunctionDimension] = Field(min_length=1)
    """The dimensions, by the names under which the function finds their values."""
    objectives: dict[str, Direction] = Field(min_length=1, max_length=8)
    """The score that the function returns, by which the best trial is chosen; further scores, which
    are maximised; and costs, which are minimised and above 0."""
    constraints: FunctionConstraints = FunctionConstraints()
    """Highest allowed values of metrics, and conditions that values have to meet."""
    sampler: SamplerName = "frontier"
    """``frontier``, which chooses the trial with the highest expected gain per second, one of
    Optuna's samplers, or the grid in its order."""
    stop: Literal["auto", "trials"] = "trials"
    """``auto`` ends the search before its trials or hours are over, when the expected gain of
    every trial is too low for its time (sampler ``frontier``)."""
    from_searches: list[SearchName] = Field(default=[], max_length=20)
    """Earlier searches with the same function, which measured the same objectives, perhaps in
    another space: the sampler ``frontier`` learns from their trials, which are none of this
    search."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of the sampler, and what the function gets as ``trial.seed``."""
    trials: Annotated[int, Field(ge=1, le=1_000_000)]
    """Trials after which the search ends."""
    hours: PositiveNumber | None = None
    """Hours after which no new trial starts."""
    gpu_hours: PositiveNumber | None = None
    """GPU-hours of its trials, failed ones too, after which no new one starts."""
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
        for name in self.constraints.__pydantic_extra__:
            if not name.startswith("max_") or not VALUE_NAME.fullmatch(name[4:]):
                yield f"constraints.{name}: must look like max_size_mb, or be expressions"
        yield from self._expression_faults()
        yield from sampler_faults(self.sampler, self.stop, self.name, self.from_searches)

    def _expression_faults(self) -> Iterator[str]:
        texts = self.text_choices
        for index, text in enumerate(self.constraints.expressions):
            field = f"constraints.expressions.{index}"
            try:
                expression = Expression(text, texts)
            except ValueError as error:
                yield f"{field}: {error}"
                continue
            for name, value in sorted(expression.compared):
                if value not in texts[name]:
                    known = ", ".join(texts[name])
                    yield f"{field}: {name} is never {value!r}; it is one of {known}"

    @property
    def text_choices(self) -> dict[str, list[str]]:
        """The values of each dimension that has a text among them."""
        return {
            name: list(map(str, each.values))
            for name, each in self.space.items()
            if any(isinstance(value, str) for value in each.values)
        }

    @property
    def conditions(self) -> tuple[Expression, ...]:
        """The expressions that values have to meet."""
        return tuple(Expression(text, self.text_choices) for text in self.constraints.expressions)

    @property
    def limits(self) -> dict[str, float]:
        """The highest allowed value of each limited metric, by its name."""
        return self.constraints.limits

    @property
    def costs(self) -> tuple[str, ...]:
        """Metrics of which less is better and that are above 0: the costs, and what is limited."""
        return tuple(dict.fromkeys([*self._weighed, *self.limits]))

    @property
    def scores(self) -> tuple[str, ...]:
        """The scores among the objectives: the first, and what is maximised."""
        return tuple(name for name in self.objectives if name not in self._weighed)

    @property
    def taken(self) -> tuple[str, ...]:
        """Names that no metric can have: trials, or their results, have them already."""
        score = () if "score" in self.objectives else ("score",)
        return *self.space, *sorted(RESERVED["objectives"]), *score

    @property
    def _weighed(self) -> list[str]:
        """The costs among the objectives."""
        _, *others = self.objectives
        return [name for name in others if self.objectives[name] == "minimize"]

    @property
    def required(self) -> tuple[str, ...]:
        """Metrics that every trial must have."""
        return tuple(dict.fromkeys([*self.objectives, *self.limits]))

    @property
    def criteria(self) -> Criteria:
        """The criteria by which trials are compared."""
        score, *others = self.objectives
        cost, *further = map(_cost, self._weighed or [SECONDS])
        return Criteria(
            metric=Measure.of(score, is_maximised=self.objectives[score] == "maximize"),
            cost=cost,
            limits=self.limits,
            is_at_fixed_cost=not self._weighed,
            costs=(*self.costs, SECONDS),
            further_costs=tuple(further),
            further_metrics=tuple(
                Measure.of(name, is_maximised=True) for name in others if name not in self._weighed
            ),
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


def _cost(name: str) -> Cost:
    """A cost of which only the name is known."""
    return Cost(name, noun=name, unit="", axis=name, description=name, less="lower")


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
