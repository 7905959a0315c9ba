"""Choices of parts as fields of a table: a name, or a table with ``name`` and the part's settings."""

from functools import partial
from typing import Annotated

from pydantic import PlainSerializer, PlainValidator

from semfed.scenario.plugins import Plugin, parse

_dump = PlainSerializer(Plugin.dump)
SourceChoice = Annotated[Plugin, PlainValidator(partial(parse, "datasets")), _dump]
PartitionChoice = Annotated[Plugin, PlainValidator(partial(parse, "partitions")), _dump]
LatentsChoice = Annotated[Plugin, PlainValidator(partial(parse, "latents")), _dump]
ModelChoice = Annotated[Plugin, PlainValidator(partial(parse, "models")), _dump]
ChannelChoice = Annotated[Plugin, PlainValidator(partial(parse, "channels")), _dump]
LearnerChoice = Annotated[Plugin, PlainValidator(partial(parse, "clients")), _dump]
StrategyChoice = Annotated[Plugin, PlainValidator(partial(parse, "strategies")), _dump]
