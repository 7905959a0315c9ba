"""Choices of parts as fields of a table: a name, or a table with ``name`` and the part's settings."""

from functools import partial
from typing import Annotated

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from semfed.scenario.plugins import Plugin, parse

GROUP = "group"
"""Stands in the JSON schema of a choice, before `semfed.scenario.json_schema` says what there is to choose from."""

_dump = PlainSerializer(Plugin.dump)
SourceChoice = Annotated[Plugin, PlainValidator(partial(parse, "datasets")), _dump, WithJsonSchema({GROUP: "datasets"})]
PartitionChoice = Annotated[
    Plugin, PlainValidator(partial(parse, "partitions")), _dump, WithJsonSchema({GROUP: "partitions"})
]
LatentsChoice = Annotated[Plugin, PlainValidator(partial(parse, "latents")), _dump, WithJsonSchema({GROUP: "latents"})]
ModelChoice = Annotated[Plugin, PlainValidator(partial(parse, "models")), _dump, WithJsonSchema({GROUP: "models"})]
MetricChoice = Annotated[Plugin, PlainValidator(partial(parse, "metrics")), _dump, WithJsonSchema({GROUP: "metrics"})]
ChannelChoice = Annotated[
    Plugin, PlainValidator(partial(parse, "channels")), _dump, WithJsonSchema({GROUP: "channels"})
]
LearnerChoice = Annotated[Plugin, PlainValidator(partial(parse, "clients")), _dump, WithJsonSchema({GROUP: "clients"})]
StrategyChoice = Annotated[
    Plugin, PlainValidator(partial(parse, "strategies")), _dump, WithJsonSchema({GROUP: "strategies"})
]
