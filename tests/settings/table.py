"""For every setting a scenario, another value, and what comes of it: one line each.

A setting without a line fails `test_every_setting.py`; so does a line whose change leaves everything as it was.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Try:
    """Change one setting of a base.

    Attributes
    ----------
    base : str
        One of `semfed`'s systems in miniature; see `bases.py`.
    value : object
        The setting's other value.
    also : dict
        Overrides on both sides.
    path : str or None
        Where the setting stands; by default it follows from its name.
    error : str
        What the refusal says, where the change is refused; otherwise numbers or files have to change.
    mends : bool
        Whether the base is refused without the change.
    """

    base: str
    value: Any
    also: dict[str, Any] = field(default_factory=dict)
    path: str | None = None
    error: str = ""
    mends: bool = False


@dataclass(frozen=True)
class Elsewhere:
    """What needs another engine or machine is shown by another test."""

    file: str
    test: str


PLACES = {
    "channels": "channel", "clients": "learner", "strategies": "strategy", "datasets": "data.source",
    "latents": "learner.latents", "metrics": "metrics", "models": "model.encoder", "partitions": "data.partition",
}  # fmt: skip
"""Where a part stands in a scenario."""

ADAM = {"training.optimizer": "adam", "training.lr": 0.01}
LABELS = {"privacy.labels": {"epsilon": 1.0}, "privacy.noise": "seeded"}
UPDATES = {"privacy.updates": {"clipping_norm": 1.0, "epsilon": 1.0, "delta": 0.01}, "privacy.noise": "seeded"}
FILES = {"learner.latents": {"name": "files", "access_point": "ap.npz", "users": ["a.npz", "b.npz"]}}
PRETRAINED = {"learner.latents": {"name": "torchvision", "users": ["resnet18", "resnet34"]}}
NO_WEIGHTS = "the weights of 'vit_b_32' are not here"
NUMBERS = {
    "data.source": "measured:Measured",
    "tasks": {"number": {"kind": "regression", "target": "brightness"}},
    "clients": [{"name": name, "task": "number"} for name in ("a", "b", "c")],
    "learner": "regression",
    "strategy": "fedavg",
}
THIRD = {"clients": [{"name": name, "task": "digit"} for name in ("a", "b", "c")]}


def encoder(name: str, **settings: Any) -> dict[str, Any]:
    """Return overrides for another encoder."""
    return {"model.encoder": {"name": name, **settings}}


def decoder(name: str, **settings: Any) -> dict[str, Any]:
    """Return overrides for another decoder."""
    return {"model.decoder": {"name": name, **settings}}


def prior(name: str) -> dict[str, Any]:
    """Return overrides for another prior."""
    return {"learner.prior": name, "learner.lambda_eff": 0.1}


LOGISTIC = prior("implicit") | {"learner.dre": {"method": "logistic", "samples": 60, "centres": 20}}

TRAINING = {
    "batch_size": 7, "clip_grad_norm": 0.1, "epochs": 2, "lr": 0.03, "momentum": 0.5, "optimizer": "adam",
    "weight_decay": 0.1,
}  # fmt: skip

HELD = {"data.validation": 8, "rounds": 3}
"""Two rounds without an improvement, at the least, where an improvement is more than there can be."""
ONCE = "encoders and classifiers are trained once"
SCHEDULE = {
    "T_max": ({"name": "cosine"}, 5),
    "eta_min": ({"name": "cosine"}, 0.01),
    "gamma": ({"name": "step", "step_size": 1}, 0.5),
    "name": ({"name": "step", "step_size": 1}, "cosine"),
    "start_factor": ({"warmup": 2}, 0.5),
    "step_size": ({"name": "step", "step_size": 1}, 2),
    "warmup": ({"warmup": 1}, 2),
}  # fmt: skip
"""A schedule, and another value of one of its settings."""


def schedule(setting: str) -> Try:
    """Return the line of a schedule's setting."""
    before, value = SCHEDULE[setting]
    after = {"name": value} if setting == "name" else {**before, setting: value}
    return Try("plain", after, {"training.schedule": before, "rounds": 3}, path="training.schedule")


SCENARIO: dict[str, Try | Elsewhere] = {
    "arms.name": Elsewhere("tests/scenario/test_overrides.py", "test_choosing_arms_and_seeds"),
    "channel": Try("plain", {"name": "rayleigh", "uses": 4}),
    "checkpoint_every": Elsewhere("tests/faults/test_checkpoints.py", "checkpoint_every=0"),
    "clients.encoder": Try("alignment", {"name": "mlp", "outputs": 7}, path="clients.b.encoder"),
    "clients.name": Try("plain", "z", path="clients.a.name"),
    "clients.snr_db": Try("plain", -5.0, path="clients.a.snr_db"),
    "clients.task": Try("clusters", "two", path="clients.c.task"),
    "data.download": Try("plain", True, error="data source 'digits' has nothing to download"),
    "data.mean": Try("plain", [0.0]),
    "data.std": Try("plain", [1.0]),
    "data.validation": Try("plain", 8),
    "data.partition": Try("plain", {"name": "ways-shots", "m": 5, "q": 4}, {"learner": "joint", "strategy": "fedavg"}),
    "data.source": Try("images", {"name": "imagefolder", "folder": "others", "size": 8}),
    "description": Try("plain", "told"),
    "headline": Elsewhere("tests/clients/test_global_accuracy.py", "test_a_headline_is_customary_or_chosen"),
    "keep_models": Try("plain", "none"),
    "learner": Try("plain", "joint", {"strategy": "fedavg", "learner": "multitask"}),
    "metrics": Try("plain", ["torchmetrics.classification:MulticlassCohenKappa"]),
    "model.decoder": Try("plain", {"name": "mlp", "hidden": [7]}),
    "model.encoder": Try("plain", {"name": "mlp", "hidden": [7]}),
    "model.snr_input": Try("plain", "both", {"channel.snr_spread_db": 5.0}),
    "name": Try("plain", "other"),
    "on_client_failure": Try("plain", "fail", {"learner": "absent:Multitask"}, error="client 'a' failed in 'train'"),
    "retries": Try("plain", 1, {"learner": "absent:Multitask", "on_client_failure": "retry"}),
    "privacy.labels.epsilon": Try("clusters", 0.1, LABELS),
    "privacy.noise": Try("plain", "secret", UPDATES),
    "privacy.updates.clipping_norm": Try("plain", 2.0, UPDATES),
    "privacy.updates.delta": Try("plain", 0.001, UPDATES),
    "privacy.updates.epsilon": Try("plain", 0.5, UPDATES),
    "rounds": Try("plain", 2),
    "seeds": Try("fedavg", [1]),
    "stop.metric": Try("plain", {"patience": 2, "metric": "loss/average"}, HELD, path="stop"),
    "stop.min_delta": Try("plain", {"patience": 1, "min_delta": 1.0}, HELD | {"stop": {"patience": 2}}, path="stop"),
    "stop.patience": Try("plain", {"patience": 1, "min_delta": 1.0}, HELD, path="stop"),
    "strategy": Try("plain", {"name": "clustered", "clusters": "individual"}),
    "sweep.arms": Elsewhere("tests/scenario/test_overrides.py", "test_a_sweep_makes_an_arm_of_every_value"),
    "sweep.axes.setting": Elsewhere("tests/scenario/test_sweeps.py", "test_several_settings_make_the_product"),
    "sweep.axes.values": Elsewhere("tests/scenario/test_sweeps.py", "test_several_settings_make_the_product"),
    "tasks.kind": Try(
        "pictures", "classification", path="tasks.pictures.kind", error="a task needs at least one named value"
    ),
    "tasks.target": Try("plain", "none", NUMBERS, path="tasks.number.target", error="has no such real numbers"),
    "tasks.centre": Try("plain", 3.0, NUMBERS, path="tasks.number.centre"),
    "tasks.scale": Try("plain", 3.0, NUMBERS, path="tasks.number.scale"),
    "tasks.rest": Try("plain", "x", {"tasks.digit": {"values": list(range(1, 9))}}, path="tasks.digit.rest"),
    "tasks.missing": Try(
        "plain",
        "allow",
        {"learner": "joint", "strategy": "fedavg"},
        path="tasks.digit.missing",
        error="never refuses a missing value",
    ),
    "tasks.values": Try("clusters", [7], path="tasks.six.values"),
    "timeout_s": Elsewhere("tests/engine/ray/test_grid.py", "timeout_s=6"),
    "training.device": Try("plain", "cuda:7", error="training.device = 'cuda:7': this machine offers"),
    "training.optimizer_state": Try("plain", "kept", {**ADAM, "rounds": 2}),
    **{f"training.{name}": Try("plain", value) for name, value in TRAINING.items()},
    **{f"training.schedule.{name}": schedule(name) for name in SCHEDULE},
}

FEW = {"data.partition": {"name": "pathological", "num_classes_per_partition": 5}}
SHARDS = {"data.partition": {"name": "shard", "shard_size": 350}}
NATURAL = {"data.partition": {"name": "natural", "by": "orbit", "values": "first"}}
DRAWN = {"name": "flwr_datasets.partitioner:DirichletPartitioner", "alpha": 50.0, "min_partition_size": 5, "seed": 1}
PARTITIONS: dict[str, Try] = {
    "counts.counts": Try("plain", [[7] * 10] * 3, {"data.partition": {"name": "counts", "counts": [[6] * 10] * 3}}),
    "dirichlet.alpha": Try("clusters", 50.0),
    "dirichlet.min_samples": Try("clusters", 380),
    "dirichlet.images": Try("clusters", 600),
    "exponential.shuffle": Try("plain", True, {"data.partition": {"name": "exponential"}}),
    "pathological.class_assignment_mode": Try("fedavg", "deterministic", FEW),
    "pathological.num_classes_per_partition": Try("fedavg", 4, FEW),
    "pathological.seed": Try("fedavg", 7, FEW),
    "natural.by": Try("arrays", "pass", NATURAL),
    "natural.values": Try("arrays", ["3", 1, 2], NATURAL),
    "shard.keep_incomplete_shard": Try("fedavg", True, SHARDS),
    "shard.num_shards_per_partition": Try("fedavg", 3, {"data.partition": {"name": "shard"}}),
    "shard.seed": Try("fedavg", 7, SHARDS),
    "shard.shard_size": Try("fedavg", 300, SHARDS),
    "foreign.seed": Try(
        "plain",
        7,
        {"data.partition": {"name": "flwr_datasets.partitioner:DirichletPartitioner", "alpha": 100.0}},
    ),
    "foreign.partition_by": Try("arrays", "orbit", {"data.partition": DRAWN}),
    "iid.per_client": Try("plain", 50),
    "ways-shots.m": Try("fedavg", 4),
    "ways-shots.q": Try("fedavg", 11),
    "ways-shots.per_client": Try(
        "fedavg", 36, {"data.partition": {"name": "ways-shots", "m": 3, "per_client": 30}}
    ),
}  # fmt: skip

CHANNELS: dict[str, Try] = {
    "awgn.power": Try("plain", "none"),
    "awgn.snr_db": Try("plain", 0.0),
    "awgn.symbols": Try("plain", "complex"),
    "awgn.uses": Try("plain", 5),
    "rayleigh.power": Try("fading", "batch"),
    "rayleigh.snr_db": Try("fading", 0.0),
    "rayleigh.symbols": Try("fading", "real"),
    "rayleigh.uses": Try("fading", 5),
    "rayleigh.fading": Try("fading", "block"),
    "rayleigh.receiver": Try("fading", "mmse"),
    "mimo.power": Try("alignment", "sample", error="channel.power = 'sample': the precoder keeps the power"),
    "mimo.symbols": Try("alignment", "real", error="Input should be 'complex'"),
    "mimo.snr_db": Try("alignment", 0.0),
    "mimo.user_snr_db": Try("alignment", [0.0, 10.0]),
    "mimo.uses": Try("alignment", 2),
    "mimo.transmit_antennas": Try("alignment", 1),
    "mimo.receive_antennas": Try("alignment", 1),
}

for _name in ("rician", "nakagami"):
    _fading = {"channel": {"name": _name, "uses": 4, "symbols": "complex", "snr_db": 5.0}}
    CHANNELS |= {
        f"{_name}.power": Try("fading", "batch", _fading),
        f"{_name}.snr_db": Try("fading", 0.0, _fading),
        f"{_name}.symbols": Try("fading", "real", _fading),
        f"{_name}.uses": Try("fading", 5, _fading),
        f"{_name}.fading": Try("fading", "block", _fading),
        f"{_name}.receiver": Try("fading", "mmse", _fading),
    }
_KNOWN = {"channel.receiver": "phase"}
CHANNELS |= {
    "rician.k_factor": Try("fading", 9.0, {"channel": {"name": "rician", "uses": 4}}),
    "nakagami.m": Try("fading", 0.5, {"channel": {"name": "nakagami", "uses": 4}}),
    "rayleigh.csi_error": Try("fading", 0.2, _KNOWN),
    "rician.csi_error": Try("fading", 0.2, {"channel": {"name": "rician", "uses": 4}}),
    "nakagami.csi_error": Try("fading", 0.2, {"channel": {"name": "nakagami", "uses": 4}}),
    "awgn.snr_spread_db": Try("plain", 5.0),
    "rayleigh.snr_spread_db": Try("fading", 5.0),
    "rician.snr_spread_db": Try("fading", 5.0, {"channel": {"name": "rician", "uses": 4}}),
    "nakagami.snr_spread_db": Try("fading", 5.0, {"channel": {"name": "nakagami", "uses": 4}}),
    "mimo.snr_spread_db": Try("alignment", 5.0, error="only what encoders send while they train"),
}

NOISE = {"channel": {"name": "foreign:Additive", "uses": 4}}
ERASURES = {"channel": {"name": "torch.nn:Dropout", "uses": 4}}
CHANNELS |= {
    "foreign.power": Try("plain", "none", NOISE),
    "foreign.snr_db": Try("plain", 5.0, ERASURES),
    "foreign.snr_spread_db": Try("plain", 5.0, {"channel": {"name": "torch.nn:Dropout", "uses": 4, "snr_db": 5.0}}),
    "foreign.symbols": Try("plain", "complex", NOISE),
    "foreign.uses": Try("plain", 5, NOISE),
}

STAGES = [{"filters": [3]}]
MODELS: dict[str, Try | Elsewhere] = {
    "cnn.final_relu": Try("plain", True, encoder("cnn", stages=STAGES)),
    "cnn.hidden": Try("plain", [5], encoder("cnn", stages=STAGES)),
    "cnn.outputs": Try("alignment", 7, encoder("cnn", stages=STAGES, outputs=8)),
    "cnn.padding": Try("plain", 1, encoder("cnn", stages=STAGES)),
    "cnn.stages.filters": Try("plain", [{"filters": [4]}], encoder("cnn", stages=STAGES), path="model.encoder.stages"),
    "cnn.stages.dropout": Try(
        "receivers", [{"filters": [3], "dropout": 0.5}], encoder("cnn", stages=STAGES), path="model.encoder.stages"
    ),
    "convnet.channels": Try("plain", [3], encoder("convnet")),
    "convnet.outputs": Try("alignment", 7, encoder("convnet", channels=[3], outputs=8)),
    "dcgan.nf": Try("fedavg", 2, encoder("dcgan", nf=3)),
    "dcgan.outputs": Try("fedavg", 7, encoder("dcgan", nf=2), error="decides for 8; leave outputs out"),
    "latent-classifier.hidden": Try("alignment", 5, path="model.decoder.hidden"),
    "deepjscc-encoder.filters": Try("pictures", [3, 3, 3, 3]),
    "deepjscc-decoder.filters": Try("pictures", [3, 3, 3, 3], path="model.decoder.filters"),
    "deepjscc-decoder.image": Try("pictures", [1, 4, 16], path="model.decoder.image"),
    "foreign.head": Try("plain", "linear", encoder("foreign:Headless", head="replace"), mends=True),
    "foreign.download": Elsewhere("tests/models/test_foreign.py", "test_nothing_is_fetched_without_leave"),
    "lenet.channels": Try("plain", [2, 3], encoder("lenet")),
    "lenet.hidden": Try("plain", 9, encoder("lenet")),
    "lenet.outputs": Try("alignment", 7, encoder("lenet", outputs=8)),
    "mlp.activation": Try("plain", "tanh"),
    "mlp.dropout": Try("receivers", 0.5),
    "mlp.final_relu": Try("plain", True),
    "mlp.hidden": Try("plain", [9]),
    "mlp.outputs": Try("plain", 5, error="model 'mlp': outputs = 5, but channel.uses = 4 decides for 4"),
    "proportional.fractions": Try("plain", [2.0], decoder("proportional"), path="model.decoder.fractions"),
    "proportional.outputs": Try(
        "plain", 5, decoder("proportional"), path="model.decoder.outputs", error="decides for 10; leave outputs out"
    ),
}

OTHERS = {"name": "imagefolder", "folder": "others", "size": 8}
COMPRESSED: dict[str, Try | Elsewhere] = {
    "compressed.of": Try("compressed", OTHERS),
    "compressed.bits": Try("compressed", 400),
    "compressed.code": Try("compressed", "pixels"),
    "compressed.header": Try("compressed", "counted", error="bits as JPEG; raise it"),
    "compressed.parts": Try("compressed", "all"),
}

FOREIGN_DATA = "tests/data/test_foreign_data.py"
HUB = "tests/data/test_huggingface.py"
DATASETS: dict[str, Try | Elsewhere] = {
    **COMPRESSED,
    "foreign.background": Elsewhere(FOREIGN_DATA, "test_what_is_asked_for_is_done"),
    "foreign.class_names": Elsewhere(FOREIGN_DATA, "test_classes_are_named"),
    "foreign.depth": Elsewhere(FOREIGN_DATA, "test_what_is_asked_for_is_done"),
    "foreign.folder": Elsewhere(FOREIGN_DATA, "test_parts_are_named"),
    "foreign.grayscale": Elsewhere(FOREIGN_DATA, "test_what_is_asked_for_is_done"),
    "foreign.resize": Elsewhere(FOREIGN_DATA, "test_what_is_asked_for_is_done"),
    "foreign.split_seed": Elsewhere(FOREIGN_DATA, "test_eurosat_gets_a_test_set_of_every_class"),
    "foreign.test_fraction": Elsewhere(FOREIGN_DATA, "test_eurosat_gets_a_test_set_of_every_class"),
    "foreign.test_split": Elsewhere(FOREIGN_DATA, "test_parts_are_named"),
    "foreign.train_split": Elsewhere(FOREIGN_DATA, "test_parts_are_named"),
    "huggingface.attributes": Elsewhere(HUB, "test_attributes_are_columns_that_are_named"),
    "huggingface.background": Elsewhere(HUB, "test_pixels_are_as_asked"),
    "huggingface.depth": Elsewhere(HUB, "test_pixels_are_as_asked"),
    "huggingface.folder": Elsewhere(HUB, "test_parts_columns_and_classes_are_those_on_disk"),
    "huggingface.grayscale": Elsewhere(HUB, "test_pixels_are_as_asked"),
    "huggingface.image": Elsewhere(HUB, "test_columns_are_named"),
    "huggingface.label": Elsewhere(HUB, "test_columns_are_named"),
    "huggingface.resize": Elsewhere(HUB, "test_pixels_are_as_asked"),
    "huggingface.split_seed": Elsewhere(HUB, "test_one_table_is_split_by_class"),
    "huggingface.test_fraction": Elsewhere(HUB, "test_one_table_is_split_by_class"),
    "huggingface.test_split": Elsewhere(HUB, "test_parts_columns_and_classes_are_those_on_disk"),
    "huggingface.train_split": Elsewhere(HUB, "test_parts_columns_and_classes_are_those_on_disk"),
    "npz.channels": Elsewhere("tests/data/test_npz.py", "test_the_axis_of_channels_is_found_or_told"),
    "npz.file": Try("arrays", "others.npz"),
    "npz.split_seed": Try("arrays", 3),
    "npz.test_file": Try("arrays", "others.npz"),
    "npz.test_fraction": Try("arrays", 0.4),
    "imagefolder.background": Try("images", 255, {"data.source.folder": "clear"}, mends=True),
    "imagefolder.depth": Try("images", "reduce", {"data.source.folder": "deep"}, mends=True),
    "imagefolder.folder": Try("images", "others"),
    "imagefolder.grayscale": Try("images", True),
    "imagefolder.nested": Try("images", True, {"data.source.folder": "nested"}, mends=True),
    "imagefolder.size": Try("images", 9),
    "imagefolder.test_fraction": Try("images", 0.4),
}

KAPPA = {"name": "torchmetrics.classification:MulticlassCohenKappa"}


def metric(**settings: Any) -> Try:
    """Return a line for the settings of a metric."""
    return Try("plain", [{**KAPPA, **settings}], {"metrics": [KAPPA]}, path="metrics")


METRICS: dict[str, Try] = {
    "foreign.better": metric(better="lower"),
    "foreign.called": metric(called="kappa"),
    "foreign.fraction": metric(fraction=True),
    "foreign.unit": metric(unit="points"),
}

LATENTS: dict[str, Try] = {
    "files.access_point": Try("alignment", "c.npz", FILES),
    "files.classifier_share": Try("alignment", 0.25, FILES),
    "files.users": Try("alignment", ["a.npz", "c.npz"], FILES),
    "torchvision.access_point": Try("alignment", "vit_b_32", PRETRAINED, error=NO_WEIGHTS),
    "torchvision.users": Try("alignment", ["resnet18"], PRETRAINED, error="names 1 models for 2 users"),
    "torchvision.size": Try("alignment", 0, PRETRAINED, error="size = 0"),
    "trained.access_point_images": Try("alignment", 70),
    "trained.homogeneous": Try("alignment", True),
}

PERSONAL = {"global_test": "never", "minibatches": 1, "show_features": 2, "test_per_class": 3, "test_snr_db": [20.0]}
CLIENTS: dict[str, Try | Elsewhere] = {
    **{f"joint.{name}": Try("fedavg", value) for name, value in PERSONAL.items()},
    **{f"split.{name}": Try("fedcl", value) for name, value in PERSONAL.items()},
    "multi-receiver.receivers": Try("receivers", 3),
    "multi-receiver.snr_offset_db": Try("receivers", {"odd": 5.0}),
    "multi-receiver.tasks": Try("receivers", ["large"]),
    "multi-receiver.test_snr_db": Try("receivers", [20.0]),
    "multi-receiver.weights": Try("receivers", [0.9, 0.1]),
    "digital.test_images": Try("digital", 5),
    "digital.test_snr_db": Try("digital", [20.0]),
    "digital.header": Try("digital", "counted"),
    "digital.code": Elsewhere("tests/clients/test_digital.py", "test_an_ldpc_code_has_a_cliff"),
    "digital.modulation": Elsewhere(
        "tests/clients/test_digital.py", "test_modulation_and_rate_choose_how_much_is_sent"
    ),
    "digital.rate": Elsewhere("tests/clients/test_digital.py", "test_modulation_and_rate_choose_how_much_is_sent"),
    "reconstruction.test_images": Try("pictures", 30),
    "reconstruction.test_snr_db": Try("pictures", [20.0]),
    "cooperative.alpha": Try("cooperative", "encoder", prior("log-uniform")),
    "cooperative.auxiliary": Try("cooperative", {"name": "mlp", "hidden": [7]}),
    "cooperative.common.epochs": Try("cooperative", 2),
    "cooperative.common.lr": Try("cooperative", 0.01),
    "cooperative.common.outputs": Try("cooperative", 5),
    "cooperative.common.rounds": Try("cooperative", 2),
    "cooperative.cu": Try("cooperative", False, {"learner.common": {"rounds": 1}}),
    "cooperative.dre.bandwidth": Try("cooperative", 1.0, LOGISTIC),
    "cooperative.dre.centres": Try("cooperative", 15, prior("implicit")),
    "cooperative.dre.gamma": Try("cooperative", 1.0, LOGISTIC),
    "cooperative.dre.method": Try("cooperative", "logistic", prior("implicit")),
    "cooperative.dre.samples": Try("cooperative", 30, LOGISTIC),
    "cooperative.dre_grad": Try("cooperative", "detach", prior("implicit")),
    "cooperative.heads": Try("cooperative", "linear"),
    "cooperative.lambda_eff": Try("cooperative", 0.2),
    "cooperative.prior": Try("cooperative", "gaussian"),
    "cooperative.rate_samples": Try("cooperative", 40),
    "cooperative.schedule": Try("cooperative", "interleaved"),
    "cooperative.specific": Try("cooperative", {"name": "mlp", "hidden": [7], "outputs": 6}),
    "cooperative.tasks": Try("cooperative", ["odd"]),
    "aligned-user.latents": Try("alignment", FILES["learner.latents"]),
    "aligned-user.pilots": Try("alignment", 50),
    "aligned-user.pilot_images": Try("alignment", "any"),
    "aligned-user.pilot_fraction": Try("alignment", 0.5),
    "aligned-user.ridge": Try("alignment", 0.1),
    "aligned-user.target_whitening": Try("alignment", "scale"),
    "aligned-user.widely_linear": Try("alignment", True),
    "aligned-user.classifier.optimizer_state": Try("alignment", "kept", error="are trained once"),
    **{
        f"aligned-user.classifier.schedule.{name}": Try(
            "alignment", {"name": "cosine"}, path="learner.classifier.schedule", error=ONCE
        )
        for name in SCHEDULE
    },
    "aligned-user.classifier.device": Try("alignment", "cuda", error="it trains where training.device says"),
    **{f"aligned-user.classifier.{name}": Try("alignment", value) for name, value in TRAINING.items()},
    "aligned-user.classifier.optimizer": Try("alignment", "sgd"),
    "aligned-user.classifier.momentum": Try("alignment", 0.5, {"learner.classifier.optimizer": "sgd"}),
}

UNEQUAL = {"name": "counts", "counts": [[2] * 10, [4] * 10, [6] * 10]}
NOISY = {"name": "awgn", "symbols": "complex", "snr_db": 0.0}
STRATEGIES: dict[str, Try] = {
    "alignment.evaluate_every": Try("alignment", 2),
    "alignment.mode": Try("alignment", "bcd"),
    "alignment.rho": Try("alignment", 3.0),
    "alignment.tolerance": Try("alignment", 100.0),
    "alignment.relative_tolerance": Try("alignment", 100.0),
    "alignment.quorum": Try("alignment", 1.0, {"learner.name": "absent:Aligned"}, error="the quorum is 2"),
    "clustered.alphabet": Try("clusters", "label-index"),
    "clustered.clusters": Try("clusters", "individual"),
    "clustered.threshold": Try("clusters", 0.0),
    "clustered.weighted": Try("plain", True, {"data.partition": UNEQUAL}),
    "clustered.quorum": Try("plain", 1.0, {"learner": "absent:Multitask"}, error="the quorum is 3"),
    "fedavg.exchange": Try("fedavg", False),
    "fedavg.fraction_train": Try("fedavg", 0.4),
    "fedavg.fraction_evaluate": Try("fedavg", 0.4),
    "fedavg.quorum": Try("fedavg", 1.0, {"learner": "absent:Joint"}, error="the quorum is 3"),
    "fedcl.downlink": Try("fedcl", NOISY),
    "fedcl.lambda_ms": Try("fedcl", 1.0),
    "fedcl.scg_mode": Try("fedcl", "literal"),
    "fedcl.scg_lr": Try("fedcl", 0.01),
    "fedcl.scg_steps": Try("fedcl", 3),
    "fedcl.scg_temperature": Try("fedcl", 2.0),
    "fedcl.quorum": Try("fedcl", 1.0, {"learner": "absent:Split"}, error="the quorum is 3"),
    "fedproto.downlink": Try("fedproto", NOISY),
    "fedproto.lambda_ms": Try("fedproto", 5.0),
    "fedproto.original": Try("fedproto", True),
    "fedproto.quorum": Try("fedproto", 1.0, {"learner": "absent:Split"}, error="the quorum is 3"),
}  # fmt: skip

TABLE: dict[str, Try | Elsewhere] = {f"scenario.{name}": line for name, line in SCENARIO.items()}
for _group, _lines in {
    "partitions": PARTITIONS, "channels": CHANNELS, "models": MODELS, "datasets": DATASETS, "latents": LATENTS,
    "clients": CLIENTS, "metrics": METRICS, "strategies": STRATEGIES,
}.items():  # fmt: skip
    TABLE |= {f"{_group}/{name}": line for name, line in _lines.items()}
