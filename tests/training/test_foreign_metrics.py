"""torchmetrics' metrics by name: values against scikit-learn on the pooled decisions, and how they are declared."""

import sys
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn

from semfed.errors import ScenarioError
from semfed.events.metrics import Metric
from semfed.scenario import Task, plugins
from semfed.training.decisions import decisions
from semfed.training.judging import Judging, scored
from semfed.training.objective import add_up

pytest.importorskip("torchmetrics")
MANY, TWO = Task(values=tuple(range(5))), Task(values=(1,), rest="other")
PLACE = "torchmetrics.classification:"
Array = np.ndarray[Any, Any]


def drawn(size: int, count: int = 300, width: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw skewed values, and logits that know something of them."""
    generator = np.random.default_rng(size)
    values = generator.choice(size, count, p=generator.dirichlet(np.full(size, 2.0)))
    logits = generator.normal(size=(count, size)) + 1.5 * np.eye(size)[values]
    if width == 1:
        logits = logits[:, 1:] - logits[:, :1]
    return torch.tensor(logits, dtype=torch.float32), torch.from_numpy(values)


def judge(table: Any, task: Task) -> Any:
    return plugins.parse("metrics", table).make(task).judge


def chosen(chances: Array) -> Array:
    return chances.argmax(1)


KINDS: list[tuple[Any, Any]] = [
    ("MulticlassCohenKappa", lambda p, y: sklearn.cohen_kappa_score(y, chosen(p))),
    (
        {"name": "MulticlassCohenKappa", "weights": "quadratic"},
        lambda p, y: sklearn.cohen_kappa_score(y, chosen(p), weights="quadratic"),
    ),
    ("MulticlassMatthewsCorrCoef", lambda p, y: sklearn.matthews_corrcoef(y, chosen(p))),
    ("MulticlassAUROC", lambda p, y: sklearn.roc_auc_score(y, p, multi_class="ovr", average="macro")),
    (
        {"name": "MulticlassF1Score", "average": "weighted"},
        lambda p, y: sklearn.f1_score(y, chosen(p), average="weighted"),
    ),
    ({"name": "MulticlassAccuracy", "average": "micro"}, lambda p, y: sklearn.accuracy_score(y, chosen(p))),
    (
        {"name": "MulticlassAccuracy", "top_k": 2, "average": "micro"},
        lambda p, y: sklearn.top_k_accuracy_score(y, p, k=2),
    ),
    ("MulticlassHammingDistance", lambda p, y: 1 - sklearn.balanced_accuracy_score(y, chosen(p))),
]  # fmt: skip


def named(table: Any) -> dict[str, Any]:
    given = {"name": table} if isinstance(table, str) else table
    return {**given, "name": PLACE + given["name"]}


@pytest.mark.parametrize(("table", "expected"), KINDS, ids=[str(table) for table, _ in KINDS])
def test_values_are_those_of_all_decisions_together(table: Any, expected: Any) -> None:
    """In batches of 70, sorted by class so that they differ; a mean over them would be another number."""
    logits, values = drawn(5)
    order = torch.argsort(values)
    logits, values = logits[order], values[order]
    judges = {"own": judge(named(table), MANY)}
    batches = zip(logits.split(70), values.split(70), strict=True)
    found = add_up(decisions(*batch, judges) for batch in batches)
    truth = expected(logits.softmax(1).numpy(), values.numpy())
    assert found["own"].mean == pytest.approx(truth, abs=1e-5)
    assert {name for name in found if name != "own"} == {"accuracy", "balanced-accuracy", "f1"}


@pytest.mark.parametrize("width", [2, 1])
@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("BinaryAUROC", lambda p, y: sklearn.roc_auc_score(y, p[:, 1])),
        ("BinaryAveragePrecision", lambda p, y: sklearn.average_precision_score(y, p[:, 1])),
        ("BinaryRecall", lambda p, y: sklearn.recall_score(y, p[:, 1] > 0.5)),
        ({"name": "BinaryPrecision", "threshold": 0.8}, lambda p, y: sklearn.precision_score(y, p[:, 1] > 0.8)),
        ("MulticlassCohenKappa", lambda p, y: sklearn.cohen_kappa_score(y, chosen(p))),
    ],
)
def test_of_two_values_the_second_is_what_is_looked_for(table: Any, expected: Any, width: int) -> None:
    logits, values = drawn(2, width=width)
    found = scored(logits, values, {"own": judge(named(table), TWO)})["own"]
    chances = torch.stack([1 - logits[:, 0].sigmoid(), logits[:, 0].sigmoid()], 1) if width == 1 else logits.softmax(1)
    assert found == pytest.approx(expected(chances.numpy(), values.numpy()), abs=1e-5)


@pytest.mark.parametrize(("task", "kind"), [(MANY, "multiclass"), (TWO, "binary"), (TWO, "multiclass")])
def test_classes_that_make_others_are_metrics_too(task: Task, kind: str) -> None:
    logits, values = drawn(task.size)
    found = judge({"name": "torchmetrics:CohenKappa", "task": kind}, task)(logits.softmax(1), values)
    assert found == pytest.approx(sklearn.cohen_kappa_score(values, logits.argmax(1)), abs=1e-5)


@pytest.mark.parametrize(
    ("table", "declared"),
    [
        ("torchmetrics.classification:MulticlassCohenKappa", Metric("multiclass-cohen-kappa", better="higher")),
        ("torchmetrics.classification:BinaryAUROC", Metric("binary-auroc", better="higher")),
        ("torchmetrics.classification:MulticlassF1Score", Metric("multiclass-f1-score", better="higher")),
        ("torchmetrics.classification:MulticlassHingeLoss", Metric("multiclass-hinge-loss", better="lower")),
        ({"name": "torchmetrics:CohenKappa", "task": "multiclass"}, Metric("cohen-kappa", better="higher")),
        (
            {"name": "torchmetrics.classification:MulticlassAccuracy", "called": "top-3", "fraction": True, "top_k": 3},
            Metric("top-3", better="higher", fraction=True),
        ),
        (
            {"name": "torchmetrics.classification:MulticlassCohenKappa", "unit": "points", "better": "lower"},
            Metric("multiclass-cohen-kappa", "points", better="lower"),
        ),
    ],
)  # fmt: skip
def test_it_is_declared_as_the_class_and_the_scenario_say(table: Any, declared: Metric) -> None:
    choice = plugins.parse("metrics", table)
    assert choice.load().declared(choice.settings) == declared


REFUSED = [
    ({"name": f"{PLACE}MulticlassCohenKappa", "wieghts": "linear"}, MANY, "refuses its arguments (ValueError"),
    ({"name": f"{PLACE}MulticlassCohenKappa", "weights": "cubic"}, MANY, "Input should be 'linear'"),
    ({"name": f"{PLACE}MulticlassCohenKappa", "num_classes": 5}, MANY, "unknown setting 'num_classes'"),
    ({"name": f"{PLACE}MulticlassRecall", "average": "none"}, MANY, "makes 5 numbers of a test instead of one"),
    (f"{PLACE}MulticlassConfusionMatrix", MANY, "makes 25 numbers of a test instead of one"),
    (f"{PLACE}BinaryAUROC", MANY, "cannot score decisions among 5 values"),
    ({"name": f"{PLACE}MultilabelAUROC", "num_labels": 5}, MANY, "cannot score decisions among 5 values"),
    (
        {"name": "torchmetrics.image:PeakSignalNoiseRatio", "data_range": 1.0},
        MANY,
        "cannot score decisions among 5 values",
    ),
    ({"name": f"{PLACE}BinaryRecall", "fraction": True, "unit": "dB"}, TWO, "a fraction is read in percent"),
    ({"name": f"{PLACE}BinaryRecall", "called": "a/b"}, TWO, "String should match pattern"),
    ("torch.nn:Linear", TWO, "is none of the metrics: it has no method judge()"),
]


@pytest.mark.parametrize(("table", "task", "words"), REFUSED, ids=[str(table) for table, *_ in REFUSED])
def test_what_does_not_fit_is_refused(table: Any, task: Task, words: str) -> None:
    with pytest.raises((ScenarioError, ValueError)) as told:
        judge(table, task)
    assert words in str(told.value)


def test_where_the_library_is_missing_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "torchmetrics"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    with pytest.raises(ScenarioError, match=r"pip install 'semfed\[metrics\]'"):
        plugins.load("metrics", f"{PLACE}MulticlassCohenKappa")


class Confidence(Judging):
    """What the receiver takes for the probability of what it decides, on average: a metric without torchmetrics."""

    @classmethod
    def declared(cls, settings: Any) -> Metric:
        return Metric("confidence")

    def judge(self, chances: torch.Tensor, values: torch.Tensor) -> float:
        return float(chances.amax(1).mean())


def test_a_metric_of_one_s_own_needs_no_library() -> None:
    logits, values = drawn(5)
    own = plugins.parse("metrics", f"{__name__}:Confidence").make(MANY).judge
    found = add_up(decisions(*batch, {"own": own}) for batch in zip(logits.split(70), values.split(70), strict=True))
    assert found["own"].mean == pytest.approx(float(logits.softmax(1).amax(1).mean()))
