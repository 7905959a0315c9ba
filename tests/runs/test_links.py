"""A link that is loaded from a run folder decides as the run did when it tested."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import semfed
from semfed.data import tasks
from semfed.data.cache import open_dataset
from semfed.data.dataset import Dataset
from semfed.errors import DataError, RunFolderError, ScenarioError, SemfedError
from semfed.events.callbacks import Callback
from semfed.runs.api import Run
from semfed.scenario import Task
from semfed.training.losses import probabilities
from tests.settings import bases


def finish(out: Path, scenario: Any, overrides: list[str], **options: Any) -> Run:
    """Run, forget the run, and load it from its folder."""
    semfed.run(scenario, seeds=[0], overrides=overrides, out=out, **options)
    return semfed.load(out)


def images_of(run: Run, root: Path | None = None) -> Dataset:
    source = run.scenario.data.source
    return open_dataset(source.make(), source.name, root)


def told(run: Run, arm: str, client: str, metric: str) -> float:
    """Return what the run reported of a client's last test."""
    last = run.scenario.arm(arm).rounds
    records = map(json.loads, (run.folder / "metrics.jsonl").read_text().splitlines())
    (value,) = [
        record["value"]
        for record in records
        if (record["arm"], record["client"], record["metric"], record["round"]) == (arm, client, metric, last)
    ]
    return float(value)


def share_correct(decided: Tensor, labels: Tensor, task: Task, classes: tuple[str, ...]) -> float:
    rows, wanted = tasks.values(labels, tasks.label_map(task, "task", classes))
    return float((decided[rows] == wanted).double().mean())


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return finish(tmp_path_factory.mktemp("run") / "digits", "digits", ["rounds=3"])


def test_digits(digits: Run) -> None:
    images, scenario = images_of(digits), digits.scenario
    found = set()
    for arm in scenario.arm_names:
        for client in scenario.clients:
            link = digits.link(arm, 0, client.name)
            decided = link(images.test.images, link.test_noise())[client.task]
            accuracy = share_correct(decided, images.test.labels, scenario.tasks[client.task], images.classes)
            assert accuracy == told(digits, arm, client.name, f"accuracy/{client.task}")
            found.add(accuracy)
    assert len(found) >= 5  # they are not all the share of the most frequent value


def test_fedcl_digits(tmp_path: Path) -> None:
    """The personal encoder with the server's decoder, the average of both, and networks that nobody else has."""
    run = finish(tmp_path / "run", "fedcl-digits", ["rounds=2"])
    images, task = images_of(run), run.scenario.tasks["own-classes"]
    for arm in run.scenario.arm_names:
        for k, client in enumerate(run.scenario.clients):
            link = run.link(arm, 0, k)
            decided = link(images.test.images, link.test_noise(purpose="global evaluation"))["own-classes"]
            accuracy = share_correct(decided, images.test.labels, task, images.classes)
            assert accuracy == told(run, arm, client.name, "accuracy/global")


ALIGNMENT = [
    "rounds=20", "training.epochs=5", "learner.classifier.epochs=5", "strategy.evaluate_every=20",
]  # fmt: skip


@pytest.mark.parametrize("more", [[], ["learner.widely_linear=true"]], ids=["complex", "real"])
def test_alignment_digits(more: list[str], tmp_path: Path) -> None:
    run = finish(tmp_path / "run", "alignment-digits", [*ALIGNMENT, *more])
    images, compared = images_of(run), 0
    for arm in run.scenario.arm_names:
        for client in run.scenario.clients:
            if arm in ("top-k", "own-latent", "unaligned"):
                with pytest.raises(RunFolderError, match=f"strategy.mode = '{arm}' makes no link: "):
                    run.link(arm, 0, client.name)
                continue
            link = run.link(arm, 0, client.name)
            accuracy = float(
                (link(images.test.images, link.test_noise())["digit"] == images.test.labels).double().mean()
            )
            assert accuracy == told(run, arm, client.name, "accuracy/digit")
            compared += 1
    assert compared == 16


@pytest.mark.long
@pytest.mark.parametrize("scenario", ["mtoc-mnist", "mtoc-federated"])
def test_multi_receiver(scenario: str, data_root: Path, tmp_path: Path) -> None:
    run = finish(tmp_path / "run", scenario, ["rounds=1", "training.epochs=1"], data_root=data_root)
    images, arm = images_of(run, data_root), run.scenario.arm_names[0]
    for client in run.scenario.clients:
        link = run.link(arm, 0, client.name)
        for task, decided in link(images.test.images, link.test_noise()).items():
            accuracy = share_correct(decided, images.test.labels, run.scenario.tasks[task], images.classes)
            assert accuracy == pytest.approx(told(run, arm, client.name, f"accuracy/{task}"), abs=1e-4)  # one image


@pytest.mark.long
@pytest.mark.parametrize(
    ("scenario", "arm", "more"),
    [
        ("iopm-mnist", None, ["rounds=2", "learner.common.epochs=1"]),
        ("iopm-mnist", "no-cu", ["rounds=2"]),
        ("iopm-federated", None, ["rounds=2", "learner.common.rounds=1", "learner.common.epochs=1"]),
    ],
)
def test_cooperative(scenario: str, arm: str | None, more: list[str], data_root: Path, tmp_path: Path) -> None:
    run = finish(tmp_path / "run", scenario, more, arms=arm, data_root=data_root)
    images, arm = images_of(run, data_root), run.scenario.arm_names[0]
    for client in run.scenario.clients:
        link = run.link(arm, 0, client.name)
        for task, decided in link(images.test.images, link.test_noise()).items():
            error = 1 - share_correct(decided, images.test.labels, run.scenario.tasks[task], images.classes)
            assert error == pytest.approx(told(run, arm, client.name, f"error/{task}"), abs=1e-4)  # one image


def test_raw_images_are_bytes_or_fractions(digits: Run) -> None:
    link, images = digits.link(), images_of(digits).test.images[:50]
    noisy = link.logits(images)["t1"]
    assert torch.equal(link.logits(images.float() / 255)["t1"], noisy)
    assert torch.equal(link.logits(images.double() / 255)["t1"], noisy)
    by_hand = (images.float() / 255 - 0.3059) / 0.3753  # the data set's statistics
    received = link.channel(link.encoder(by_hand), torch.Generator().manual_seed(0))
    assert torch.equal(link.decoder(received), noisy)
    with pytest.raises(DataError, match=r"images of shape \(1, 8, 8\): this link takes \(batch, 1, 8, 8\)"):
        link(images[0])
    for wrong in (images.float(), images.long()):
        with pytest.raises(DataError, match=r"give uint8 in 0 .. 255, or floats in \[0, 1\]"):
            link(wrong)


def test_noise_comes_from_the_argument_alone(digits: Run) -> None:
    link, images = digits.link(), images_of(digits).test.images
    torch.manual_seed(1)
    first = link.logits(images)["t1"]
    torch.manual_seed(2)
    assert torch.equal(link.logits(images, 0)["t1"], first)
    assert torch.equal(link.logits(images, torch.Generator().manual_seed(0))["t1"], first)
    assert not torch.equal(link.logits(images, 1)["t1"], first)
    with pytest.raises(SemfedError, match="noise has 2 streams for 1 transmissions"):
        link(images, [torch.Generator(), torch.Generator()])
    # the noise is that of the scenario: sigma = 0.5 on every number
    sent = link.encoder(link.standardise(images))
    noise = link.channel(sent, torch.Generator().manual_seed(0)) - sent
    assert float(noise.std()) == pytest.approx(0.5, rel=0.02)


def test_a_link_only_evaluates_unless_it_is_asked_to_learn(digits: Run) -> None:
    link, images = digits.link(), images_of(digits).test.images[:20]
    assert not any(module.training for module in link.modules())
    logits = link.logits(images)["t1"]
    assert not logits.requires_grad
    assert torch.equal(probabilities(logits), link.probabilities(images)["t1"])
    link.requires_grad_()
    link.logits(images)["t1"].sum().backward()
    assert all(parameter.grad is not None for parameter in link.parameters())
    assert digits.link().encoder[1].weight.grad is None  # no two links share memory


def test_which_link_is_meant_has_to_exist(digits: Run) -> None:
    assert digits.link().extra_repr() == "'Sat 1' of arm 'clustered', seed 0, round 3: t1: other, 2"
    with pytest.raises(ScenarioError, match="no arm 'nobody'"):
        digits.link("nobody")
    with pytest.raises(ScenarioError, match="seed = 7: the run has 0"):
        digits.link(seed=7)
    with pytest.raises(ScenarioError, match="client = 'Sat': the run has no such client; did you mean 'Sat 3'"):
        digits.link(client="Sat")
    with pytest.raises(ScenarioError, match="client = 3: the run has no such client"):
        digits.link(client=3)


def test_a_saved_link_is_the_same_link(digits: Run, tmp_path: Path) -> None:
    link, images = digits.link("individual", 0, "Sat 2"), images_of(digits).test.images
    with torch.no_grad():
        link.decoder[-1].bias[0] += 1  # what is saved is what it is now, not what was trained
    link.save(tmp_path / "link.safetensors")
    again = semfed.Link.load(tmp_path / "link.safetensors")
    assert torch.equal(again.logits(images)["t2"], link.logits(images)["t2"])
    assert not torch.equal(again.logits(images)["t2"], digits.link("individual", 0, 1).logits(images)["t2"])
    assert (again.client, again.round, again.values) == (1, 3, {"t2": ("other", "1", "2")})
    with pytest.raises(SemfedError, match="cannot be written"):
        link.save(tmp_path / "nowhere" / "link.safetensors")


def test_a_damaged_link_is_told_in_one_sentence(digits: Run, tmp_path: Path) -> None:
    path = tmp_path / "link.safetensors"
    digits.link().save(path)
    data = path.read_bytes()
    for damaged in (data[:-8], b"", b"\x80\x04pickle", data[:100]):
        path.write_bytes(damaged)
        with pytest.raises(SemfedError, match=r"is missing, damaged or no saved link"):
            semfed.Link.load(path)
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(SemfedError, match="its weights are not those that were saved"):
        semfed.Link.load(path)
    with pytest.raises(SemfedError, match="is missing, damaged or no saved link"):
        semfed.Link.load(tmp_path / "nothing")


def both(value: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return value if isinstance(value, tuple) else (value,)


def check_export(run: Run, folder: Path, images: Tensor) -> None:
    """Run the exported halves with another number of images than they were traced with."""
    link = run.link()
    link.export(folder)
    encoder, decoder = (torch.export.load(folder / f"{half}.pt2").module() for half in ("encoder", "decoder"))
    about = json.loads((folder / "link.json").read_text())
    assert about["values"] == {task: list(values) for task, values in link.values.items()}
    generator = torch.Generator().manual_seed(3)
    widths = [shape[1] for shape in about["encoder"]["standard normal draws"]]
    draws = [torch.randn(len(images), width, generator=generator) for width in widths]
    wanted = both(link.encoder(link.standardise(images), *draws))
    for got, own in zip(both(encoder(images.float() / 255, *draws)), wanted, strict=True):
        torch.testing.assert_close(got, own, rtol=0, atol=1e-6)
    heard = link.channel(wanted if len(wanted) > 1 else wanted[0], [generator] * max(1, len(wanted)))
    for got, own in zip(both(decoder(heard)), both(link.decoder(heard)), strict=True):
        torch.testing.assert_close(got, own, rtol=0, atol=1e-6)


def test_exported_halves_agree_with_the_module(digits: Run, tmp_path: Path) -> None:
    check_export(digits, tmp_path / "halves", images_of(digits).test.images[:37])


@pytest.mark.parametrize("base", ["cooperative", "receivers", "alignment", "fedcl"])
def test_halves_of_every_kind_of_system_agree(base: str, tmp_path: Path) -> None:
    """Stochastic encoders, broadcasts, complex matrices and convolutions with batch normalisation."""
    convolutions = {"fedcl": ['model.encoder={name="dcgan", nf=3}']}
    run = finish(tmp_path / "run", bases.BASES[base](), convolutions.get(base, []))
    check_export(run, tmp_path / "halves", images_of(run).test.images[:37])


BEST = {
    "data.validation": 0.25, "keep_models": "best", "rounds": 8, "training.lr": 0.3, "training.batch_size": 5,
}  # fmt: skip


def test_the_best_round_on_the_validation_split_is_kept(tmp_path: Path) -> None:
    """Not the last one; its networks decide about the test set as they did in that round."""
    run = semfed.run("digits", arms="clustered", seeds=[0], overrides=BEST, out=tmp_path / "run")
    (outcome,) = map(json.loads, (run.folder / "outcomes.jsonl").read_text().splitlines())
    best = outcome["best_round"]
    assert 1 <= best["round"] < 8
    records = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    judged = {r["round"]: r["value"] for r in records if r["metric"] == best["metric"] and r["client"] is None}
    assert best["value"] == max(judged.values())
    images = images_of(run).test
    for client in run.scenario.clients:
        link = run.link(client=client.name)
        assert link.round == best["round"]
        decided = link(images.images, link.test_noise())[client.task]
        accuracy = share_correct(decided, images.labels, run.scenario.tasks[client.task], tuple("0123456789"))
        (wanted,) = (
            r["value"]
            for r in records
            if (r["client"], r["round"], r["metric"]) == (client.name, best["round"], f"accuracy/{client.task}")
        )
        assert accuracy == wanted


def test_a_run_that_goes_on_has_the_best_round_from_before(tmp_path: Path) -> None:
    class Interrupted(Callback):
        def on_round(self, arm: str, seed: int, round_: int, records: Any, seconds: float) -> None:
            if round_ == 7:
                raise RuntimeError("as asked")

    given: dict[str, Any] = {"scenario": "digits", "arms": "clustered", "seeds": [0], "overrides": BEST}
    whole = semfed.run(**given, out=tmp_path / "whole")
    with pytest.raises(RuntimeError, match="as asked"):
        semfed.run(**given, out=tmp_path / "run", callbacks=[Interrupted()])
    semfed.run(resume=tmp_path / "run")
    places = [folder / "models" / "clustered-seed0" for folder in (whole.folder, tmp_path / "run")]
    kept = [{path.name: path.read_bytes() for path in place.iterdir()} for place in places]
    assert kept[0] == kept[1]
    assert whole.link().round < 6  # so that it is not found again


def test_without_a_validation_split_no_round_is_the_best() -> None:
    with pytest.raises(ScenarioError, match="keep_models = 'best': there is no validation split to judge rounds by"):
        semfed.run("digits", overrides=["keep_models=best"])
