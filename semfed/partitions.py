"""How a scenario says which client gets which training images; `semfed.data.partition` deals them."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, PlainSerializer, PlainValidator, model_validator
from pydantic_core import PydanticCustomError

from semfed.settings import StrictModel, suggest


class CountsPartition(StrictModel):
    """Give every client an exact number of training images of every class."""

    name: Literal["counts"] = "counts"
    counts: tuple[tuple[Annotated[int, Field(ge=0)], ...], ...]
    """One row a client, one column a class."""


class IIDPartition(StrictModel):
    """Split the training set evenly and at random, or take `per_client` images each."""

    name: Literal["iid"] = "iid"
    per_client: int | None = Field(default=None, ge=1)


class DirichletPartition(StrictModel):
    """Split every class among the clients in Dirichlet(alpha) proportions; small alpha, strong skew."""

    name: Literal["dirichlet"] = "dirichlet"
    alpha: float = Field(gt=0)
    min_samples: int = Field(default=1, ge=1)
    """Draw again until every client has at least this many images."""


class WaysShotsPartition(StrictModel):
    """Give every client `q` images of each of `m` classes chosen at random (m-way q-shot)."""

    name: Literal["ways-shots"] = "ways-shots"
    m: int = Field(ge=1)
    q: int | None = Field(default=None, ge=1)
    per_client: int | None = Field(default=None, ge=1)
    """Images of a client instead of `q`, to vary `m` at a constant amount; what `m` leaves over is not used."""

    @property
    def shots(self) -> int:
        """Images of every class that a client has."""
        return self.q if self.q is not None else (self.per_client or 0) // self.m

    @model_validator(mode="after")
    def _one_amount(self) -> Self:
        if (self.q is None) == (self.per_client is None):
            raise ValueError("give either q, images a class, or per_client, images a client")
        if self.shots < 1:
            raise ValueError(f"per_client = {self.per_client} leaves no image a class at m = {self.m}: raise it")
        return self


PARTITIONS: dict[str, type[StrictModel]] = {
    "counts": CountsPartition,
    "iid": IIDPartition,
    "dirichlet": DirichletPartition,
    "ways-shots": WaysShotsPartition,
}


def _partition(value: Any) -> StrictModel:
    """Validate a partition by its name; a union would put its members' names into messages."""
    if isinstance(value, StrictModel):
        return value
    table = {"name": value} if isinstance(value, str) else value
    name = table.get("name") if isinstance(table, dict) else None
    if not isinstance(name, str) or name not in PARTITIONS:
        raise PydanticCustomError(
            "partition", "no partition {name}; {hint}", {"name": repr(name), "hint": suggest(str(name), PARTITIONS)}
        )
    return PARTITIONS[name].model_validate(table)


Partition = CountsPartition | IIDPartition | DirichletPartition | WaysShotsPartition
PartitionChoice = Annotated[Partition, PlainValidator(_partition), PlainSerializer(StrictModel.model_dump)]
