"""Both halves of a link as programs of ``torch.export``, which run without this package."""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from semfed.checkpoint import files
from semfed.errors import SemfedError
from semfed.models.layers.snr import SNRAware
from semfed.runs.link import Link
from semfed.scenario.paths import as_path

ENCODER, DECODER, ABOUT = "encoder.pt2", "decoder.pt2", "link.json"
EXAMPLES = 2
"""Samples of the batch that the halves are traced with; 0 and 1 would be taken for constants."""


class Transmitter(nn.Module):
    """From float images in [0, 1], and a stochastic encoder's draws or the SNR, to what the encoder gives out."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self.encoder = link.encoder
        self.register_buffer("mean", link.mean)
        self.register_buffer("std", link.std)

    mean: Tensor
    std: Tensor

    def forward(self, images: Tensor, *more: Tensor) -> Tensor:
        """Standardise and encode a batch."""
        sent: Tensor = self.encoder((images - self.mean) / self.std, *more)
        return sent


def export(link: Link, folder: str | Path) -> Path:
    """Write ``encoder.pt2``, ``decoder.pt2`` and ``link.json``, which says what goes in and comes out.

    The number of samples is free. The channel stands between both halves and is not exported: the encoder's output
    is not scaled to the power of the scenario's channel yet, and the decoder takes what that channel gives. A half that
    is told the SNR takes it as its last argument, in dB, shape (batch, 1).

    Parameters
    ----------
    link : Link
    folder : str or Path
        Made if it does not exist; files in it are written anew.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    SemfedError
        If the folder cannot be written, or a network holds code that ``torch.export`` does not take.
    """
    target, scenario = as_path(folder), link.trial.scenario
    free = {0: torch.export.Dim("batch")}
    images = torch.zeros(EXAMPLES, *link.images.shape)
    draws = [torch.zeros(EXAMPLES, width) for widths in link.system.draws for width in widths]
    of_sender, of_receiver = (_snr(half) for half in (link.encoder, link.decoder))
    transmitter, streams = Transmitter(link).eval(), [torch.Generator().manual_seed(0) for _ in link.system.streams]
    sent = transmitter(images, *draws, *of_sender)
    heard = link.channel(sent, streams)
    about = {
        "encoder": {
            "images": ["batch", *link.images.shape],
            "dtype": "float32 in [0, 1]",
            "standard normal draws": [["batch", *draw.shape[1:]] for draw in draws],
            "SNR in dB": [["batch", 1] for _ in of_sender],
            "gives": _shapes(sent),
        },
        "channel": scenario.channel.settings.model_dump(mode="json") | {"name": scenario.channel.name},
        "decoder": {
            "takes": _shapes(heard),
            "SNR in dB": [["batch", 1] for _ in of_receiver],
            "gives": "logits by task, one number for the second of two values",
        },
        "values": link.values,
        "arm": link.trial.arm,
        "seed": link.trial.seed,
        "round": link.round,
        "client": scenario.clients[link.client].name,
        "data": asdict(link.images),
    }
    try:
        target.mkdir(parents=True, exist_ok=True)
        more = (*draws, *of_sender)
        of_more = (tuple(free for _ in more),) if more else ()
        sender = torch.export.export(transmitter, (images, *more), dynamic_shapes=(free, *of_more))
        of_heard = tuple(free for _ in heard) if isinstance(heard, tuple) else free
        shapes = (of_heard, *(free for _ in of_receiver))
        receiver = torch.export.export(link.decoder, (heard, *of_receiver), dynamic_shapes=shapes)
        for name, program in ((ENCODER, sender), (DECODER, receiver)):
            torch.export.save(program, target / name)
        files.write(target / ABOUT, (json.dumps(about, indent=2) + "\n").encode())
    except OSError as error:
        raise SemfedError(f"'{target}' cannot be written ({error.strerror}): give another folder") from error
    except (RuntimeError, ValueError, TypeError, torch._dynamo.exc.TorchDynamoException) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SemfedError(
            f"torch.export does not take this link's networks ({line}): use link.save() instead"
        ) from error
    return target


def _snr(half: nn.Module) -> tuple[Tensor, ...]:
    """Return an example of the SNR where a half is told it, else nothing."""
    return (torch.zeros(EXAMPLES, 1),) if isinstance(half, SNRAware) else ()


def _shapes(tensors: Tensor | tuple[Tensor, ...]) -> list[list[str | int]]:
    each = tensors if isinstance(tensors, tuple) else (tensors,)
    return [["batch", *tensor.shape[1:]] for tensor in each]
