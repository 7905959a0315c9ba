"""A message's content in few records of few arrays, for the way through a SuperLink.

There every record is an object, every array two and more, and every object costs four requests between the server and
a client: a network of ten arrays costs a deployment's round more by its requests than by its bytes.
"""

import json
from copy import copy
from typing import cast

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict

from semfed.flower.compat import ClientAppCallable

PACKED = "semfed.packed"
"""Record of all that have no arrays; also name and serialization type of the one array that stands for several."""
KINDS: dict[str, type[ConfigRecord | MetricRecord]] = {kind.__name__: kind for kind in (ConfigRecord, MetricRecord)}


def pack(content: RecordDict, known: dict[int, ArrayRecord] | None = None) -> RecordDict:
    """Return a content in which one record holds all without arrays, and every other a single array.

    Parameters
    ----------
    content : RecordDict
    known : dict of int to ArrayRecord, optional
        Where to note what the record of an identity has become: who gives the same for several contents that share
        records packs these once, and a SuperLink keeps them once. All must be alive meanwhile.
    """
    known = {} if known is None else known
    made, others = RecordDict(), ConfigRecord()
    for name, record in content.items():
        if isinstance(record, ArrayRecord):
            made[name] = known[id(record)] = known.get(id(record)) or _as_one(record)
        else:
            others[f"{type(record).__name__} {name}"] = record.deflate()
    made[PACKED] = others
    return made


def unpack(content: RecordDict) -> RecordDict:
    """Return what `pack` was given, with its arrays at the end."""
    made = RecordDict()
    for label, data in content.config_records[PACKED].items():
        kind, _, name = label.partition(" ")
        made[name] = KINDS[kind].inflate(cast(bytes, data))
    for name, record in content.array_records.items():
        made[name] = _as_many(record)
    return made


def packed_alike(message: Message, context: Context, answer: ClientAppCallable) -> Message:
    """Answer a message that is packed by one that is, too.

    A Flower mod, the outermost one.
    """
    if PACKED not in message.content:
        return answer(message, context)
    own = copy(message)
    own.content = unpack(message.content)
    reply = answer(own, context)
    if reply.has_content():
        reply.content = pack(reply.content)
    return reply


def _as_one(record: ArrayRecord) -> ArrayRecord:
    parts = [(name, array.dtype, array.shape, array.stype, array.data) for name, array in record.items()]
    index = json.dumps([(*about, len(data)) for *about, data in parts]).encode()
    data = b"\n".join([index, b"".join(part[-1] for part in parts)])
    return ArrayRecord({PACKED: Array("uint8", (len(data),), PACKED, data)})


def _as_many(record: ArrayRecord) -> ArrayRecord:
    data = record[PACKED].data
    made, start = ArrayRecord(), data.index(b"\n") + 1
    for name, dtype, shape, stype, size in json.loads(data[:start]):
        made[name] = Array(dtype, tuple(shape), stype, data[start : start + size])
        start += size
    return made
