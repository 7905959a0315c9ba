"""A trained client as a PyTorch module: encoder, channel and decoder, with the images' normalisation inside."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor, nn

from semfed import seeding
from semfed.checkpoint import files
from semfed.checkpoint.files import Arrays
from semfed.data.dataset import ImageFormat
from semfed.errors import DataError, SemfedError
from semfed.events.callbacks import array_digest
from semfed.flower import trial as trials
from semfed.flower.client.networks import without_data
from semfed.flower.trial import Trial
from semfed.models.layers.snr import tell
from semfed.scenario.paths import as_path
from semfed.training import weights as named
from semfed.training.losses import decide, probabilities
from semfed.training.objective import Networks
from semfed.training.system import System

SCHEMA = 1
KEY = "semfed-link"
"""Of the entry in a file's metadata."""
Noise = int | torch.Generator | Sequence[torch.Generator]
"""Of a channel: a seed, a stream, or a stream for every transmission."""


class Link(nn.Module):
    """What a trained client decides about images, through the noisy channel; in evaluation mode and without gradients.

    Nothing of Flower runs in it, and no data are needed. Images are uint8 in 0 .. 255 or floats in [0, 1], of shape
    (batch, channels, height, width); they are standardised as in the run. All that is random, the channel's noise and
    fading and the draws of a stochastic encoder, comes from the argument `noise` of a call, so equal calls give equal
    results: an int seeds a new stream, 0 by default; `test_noise` is what the run tested with.

    Parameters
    ----------
    trial : Trial
        What it was trained in.
    client : int
    weights : mapping of str to ndarray
        By names as in `semfed.training.objective.Networks`.
    about : mapping
        ``round``, ``config`` and ``images``; see `semfed.events.callbacks.TrainedNetworks`.

    Attributes
    ----------
    encoder, channel, decoder : nn.Module
        See `semfed.training.system.System`: ``decoder(channel(encoder(standardise(images)), noise))`` are logits. One
        that is told the SNR knows the channel's, and takes another one as a further argument, in dB.
    values : dict of str to tuple of str
        The tasks that are decided, each with the names of its values.
    images : ImageFormat
        What images have to be like.
    trial : Trial
    client, round : int

    Raises
    ------
    SemfedError
        If the weights are of other networks than the scenario's, or these decide nothing; the sentence says why.
    """

    def __init__(self, trial: Trial, client: int, weights: Arrays, about: Mapping[str, Any]) -> None:
        super().__init__()
        self.trial, self.client, self.round = trial, client, int(about["round"])
        self.images, self._config = _image_format(about["images"]), dict(about["config"])
        learner = without_data(trial, client, self.images)
        nets = learner.trained(None, self._config)
        if nets is None:
            raise SemfedError(f"learner {trial.scenario.learner.name!r} has no networks")
        _fill(nets, weights)
        if nets.hearing:
            tell(nets.hearing, learner.session.channel_choice.settings.snr_db)
        self._nets, self._system = nets, learner.system(nets, self._config)
        self.encoder, self.channel, self.decoder = self._system.encoder, self._system.channel, self._system.decoder
        self.values = dict(self._system.values)
        for name in ("mean", "std"):
            statistics = torch.tensor(getattr(self.images, name), dtype=torch.float32).view(1, -1, 1, 1)
            self.register_buffer(name, statistics, persistent=False)
        self.eval().requires_grad_(False)
        self._check_widths()

    mean: Tensor
    std: Tensor

    def standardise(self, images: Tensor) -> Tensor:
        """Return raw images as the encoder takes them.

        Raises
        ------
        DataError
            If they are of another shape or type, or floats outside of [0, 1].
        """
        if images.ndim != 4 or tuple(images.shape[1:]) != self.images.shape:
            raise DataError(f"images of shape {tuple(images.shape)}: this link takes (batch, {_shape(self.images)})")
        if images.dtype == torch.uint8:
            scaled = images.float() / 255
        elif images.is_floating_point() and not bool(((images < 0) | (images > 1)).any()):
            scaled = images.float()
        else:
            raise DataError(f"images of type {images.dtype}: give uint8 in 0 .. 255, or floats in [0, 1]")
        return (scaled - self.mean) / self.std

    def forward(self, images: Tensor, noise: Noise = 0) -> dict[str, Tensor]:
        """Return the decisions by task: indices into `values`, shape (batch,), int64."""
        return {task: decide(own) for task, own in self.logits(images, noise).items()}

    def probabilities(self, images: Tensor, noise: Noise = 0) -> dict[str, Tensor]:
        """Return what the decoders take for the probabilities of all values, by task, shape (batch, values)."""
        return {task: probabilities(own) for task, own in self.logits(images, noise).items()}

    def logits(self, images: Tensor, noise: Noise = 0) -> dict[str, Tensor]:
        """Return the decoders' logits by task, shape (batch, values), or (batch, 1) for some tasks of two values.

        Parameters
        ----------
        images : Tensor, shape (batch, channels, height, width), uint8 or float
        noise : int, torch.Generator or sequence of torch.Generator
            On the device of the images.
        """
        standard = self.standardise(images)
        streams = self._streams(noise, standard.device)
        draws = [
            torch.randn(len(standard), width, generator=stream, device=standard.device)
            for stream, widths in zip(streams, self._system.draws, strict=False)
            for width in widths
        ]
        found = self.decoder(self.channel(self.encoder(standard, *draws), streams))
        return dict(zip(self.values, found if isinstance(found, tuple) else (found,), strict=True))

    def test_noise(self, round_: int | None = None, *, purpose: str | None = None) -> list[torch.Generator]:
        """Return the streams, on the CPU, that the run drew from when it tested this client.

        With them, and all test images at once, the link repeats the decisions behind the run's reported scores.

        Parameters
        ----------
        round_ : int, optional
            The last one by default.
        purpose : str, optional
            Of a test beside the main one, such as ``"global evaluation"``.
        """
        at = self.client, self.round if round_ is None else round_
        streams = self._system.streams if purpose is None else (purpose,)
        return [seeding.torch_generator(self.trial.seed, stream, *at) for stream in streams]

    def save(self, path: str | Path) -> None:
        """Write the link into one safetensors file: its present weights, and as JSON all else that `load` needs.

        Raises
        ------
        SemfedError
            If the file cannot be written.
        """
        arrays = named.to_arrays(Networks(self._nets.shared, self._nets.private).state)
        about = {
            "schema": SCHEMA,
            "trial": json.loads(self.trial.to_json()),
            "client": self.client,
            "round": self.round,
            "config": self._config,
            "images": asdict(self.images),
            "sha256": array_digest(arrays),
        }
        target = as_path(path)
        try:
            files.write(target, save(arrays, metadata={KEY: json.dumps(about, sort_keys=True)}))
        except OSError as error:
            raise SemfedError(f"'{target}' cannot be written ({error.strerror}): give another path") from error

    def export(self, folder: str | Path) -> Path:
        """Write encoder and decoder as programs of ``torch.export``; see `semfed.runs.link_export.export`."""
        from semfed.runs.link_export import export  # torch.export takes a third of a second to import

        return export(self, folder)

    @classmethod
    def load(cls, path: str | Path) -> "Link":
        """Read what `save` wrote. Nothing is unpickled; plugins of the scenario have to be installed.

        Raises
        ------
        SemfedError
            If it is missing, damaged, or something else.
        """
        target = as_path(path)
        try:
            with safe_open(target, "numpy") as file:
                about = json.loads((file.metadata() or {})[KEY])
                arrays: Arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if about["schema"] != SCHEMA:
                raise SemfedError(f"'{target}' is a link of version {about['schema']}, not {SCHEMA}: save it again")
            whole = array_digest(arrays) == about["sha256"]
            text, client = json.dumps(about["trial"], sort_keys=True), int(about["client"])
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise SemfedError(f"'{target}' is missing, damaged or no saved link ({error!r}): save it again") from error
        if not whole:
            raise SemfedError(f"'{target}' is damaged: its weights are not those that were saved; save it again")
        return cls(trials.from_json(text), client, arrays, about)

    def extra_repr(self) -> str:
        """Say whose link it is and what it decides."""
        who = self.trial.scenario.clients[self.client].name
        tasks = "; ".join(f"{task}: {', '.join(values)}" for task, values in self.values.items())
        return f"{who!r} of arm {self.trial.arm!r}, seed {self.trial.seed}, round {self.round}: {tasks}"

    @property
    def system(self) -> System:
        """The parts, and what they draw from."""
        return self._system

    def _streams(self, noise: Noise, device: torch.device) -> list[torch.Generator]:
        count = len(self._system.streams)
        if isinstance(noise, int):
            noise = torch.Generator(device).manual_seed(noise)
        streams = [noise] * count if isinstance(noise, torch.Generator) else list(noise)
        if len(streams) != count:
            raise SemfedError(f"noise has {len(streams)} streams for {count} transmissions: give one, or one each")
        return streams

    def _check_widths(self) -> None:
        """Refuse networks that give something else than a number for every value: they decide nothing."""
        found = self.logits(torch.zeros(2, *self.images.shape))
        for task, values in self.values.items():
            width = found[task].shape[1]
            if width != len(values) and (width, len(values)) != (1, 2):
                raise SemfedError(
                    f"learner {self.trial.scenario.learner.name!r} decides nothing: its decoder gives {width} numbers "
                    f"for the {len(values)} values of task {task!r}"
                )


def _image_format(told: Mapping[str, Any]) -> ImageFormat:
    channels, height, width = told["shape"]
    parts: dict[str, Any] = {name: tuple(told[name]) for name in ("classes", "mean", "std")}
    return ImageFormat(title=told["title"], shape=(channels, height, width), **parts)


def _shape(images: ImageFormat) -> str:
    return ", ".join(map(str, images.shape))


def _fill(nets: Networks, weights: Arrays) -> None:
    """Copy weights into networks by their names."""
    wanted = {name: tuple(tensor.shape) for name, tensor in nets.state.items()}
    if wanted != {name: array.shape for name, array in weights.items()}:
        odd = sorted(wanted.keys() ^ weights) or sorted(name for name in wanted if wanted[name] != weights[name].shape)
        raise SemfedError(
            f"the weights are of other networks than the scenario's, see {odd[0]!r}: load them with the versions of "
            "semfed and of the plugins that trained them"
        )
    named.fill(nets.state, [weights[name] for name in nets.state])
