"""What a run shows of itself, and its history as a table of pandas."""

import re
import sys

import numpy as np
import pandas as pd
import pytest

import semfed
from semfed.errors import SemfedError
from semfed.runs.api import Run
from semfed.runs.folder import read_records


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "swept"
    arms = ["clustered", "individual"]
    return semfed.run(
        "digits", arms=arms, seeds=[0, 1], overrides=["rounds=1"], sweep={"channel.snr_db": [0, 5]}, out=out
    )


def test_the_frame_has_a_row_a_number(done: Run) -> None:
    frame, records = done.frame(), read_records(done.folder)
    assert list(frame.columns) == ["arm", "channel.snr_db", "seed", "round", "client", "metric", "value"]
    assert len(frame) == len(records)
    for place in (0, 17, len(records) - 1):
        row, record = frame.iloc[place], records[place]
        assert f"{row['arm']}@{row['channel.snr_db']:g}" == record.arm
        assert (row["seed"], row["round"], row["metric"], row["value"]) == (
            record.seed,
            record.round,
            record.metric,
            record.value,
        )
        assert record.client == (None if pd.isna(row["client"]) else row["client"])


def test_the_frame_leads_to_the_summary(done: Run) -> None:
    frame = done.frame()
    last = frame[(frame["metric"] == "accuracy/average") & (frame["round"] == 1)]
    means = last.groupby(["arm", "channel.snr_db"], observed=True)["value"].mean()
    for (arm, snr), mean in means.items():
        final = done.summary["arms"][f"{arm}@{snr:g}"]["final"]["accuracy/average"]
        assert mean == pytest.approx(final["mean"], rel=1e-12)
    assert frame["value"].dtype == np.float64


def test_without_pandas_one_sentence_says_what_to_install(done: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(SemfedError, match="pip install pandas"):
        done.frame()


def test_a_run_is_described_in_a_line(done: Run) -> None:
    best = done.summary["best"]
    final = done.summary["arms"][best]["final"]["accuracy/average"]
    value = f"{final['mean']:.4g} ± {final['ci95'][1] - final['mean']:.2g}"
    assert repr(done) == f"<Run 'digits': 4 arms, 2 seeds; best '{best}': accuracy/average {value}; in '{done.folder}'>"


def test_a_notebook_shows_table_and_figures(done: Run) -> None:
    plain = done._repr_html_()
    assert plain.count("<tr>") == 1 + 4
    assert "<b>" in plain
    assert "<img" not in plain
    (done.folder / "plots").mkdir()
    picture = done.folder / "plots" / "a.png"
    picture.write_bytes(b"\x89PNG")
    assert 'src="data:image/png;base64,iVBORw=="' in done._repr_html_()
    header = bytes(16) + (1050).to_bytes(4, "big")
    for name in ("accuracy-average-vs-bytes", "accuracy-average-vs-round", "zeal"):
        (done.folder / "plots" / f"{name}.png").write_bytes(header)
    shown = re.findall(r'<img alt="([^"]*)" style="[^"]* width: (\d+)px', done._repr_html_())
    assert shown == [
        ("accuracy-average-vs-round", "385"),
        ("accuracy-average-vs-bytes", "385"),
        ("a", "0"),
        ("zeal", "385"),
    ]
