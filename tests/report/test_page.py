"""The page about runs is complete in itself, says what the summary says, and escapes what users write."""

import json
import logging
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

import semfed
from semfed.cli import app
from semfed.errors import RunFolderError
from semfed.report import comparison, plots
from semfed.report.page import page, write
from semfed.runs.folder import describe, read_metrics, write_atomically
from semfed.runs.summary import of_folder
from semfed.scenario import overrides

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = '<script>alert(1)</script> & "quotes" $\\frac{'
LOOK = """
<script>addEventListener("load", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
  const over = [], box = e => e.getBoundingClientRect();
  for (const e of document.querySelectorAll("body, body :not(svg, svg *)")) {
    const style = getComputedStyle(e);
    if (style.overflowX === "visible" && style.display !== "inline" && e.scrollWidth > e.clientWidth + 1)
      over.push(e.tagName + ": " + e.textContent.slice(0, 40));
  }
  for (const text of document.querySelectorAll("svg text")) {
    const [inner, outer] = [box(text), box(text.closest("svg"))];
    if (inner.left < outer.left - 1 || inner.right > outer.right + 1 || inner.bottom > outer.bottom + 1 ||
        inner.top < outer.top - 1)
      over.push("svg: " + text.textContent);
  }
  const ids = [...document.querySelectorAll("[id]")].map(e => e.id);
  const asked = performance.getEntriesByType("resource").map(e => e.name).filter(name => !name.startsWith("data:"));
  const found = {over, asked, tables: document.querySelectorAll("table > caption").length, figures:
    document.querySelectorAll("svg[role=img][aria-label]:not([aria-label=''])").length, scripts:
    document.scripts.length, twice: ids.length - new Set(ids).size, background:
    getComputedStyle(document.body).backgroundColor, ink: getComputedStyle(document.querySelector("svg text")).fill};
  console.log("looked"); document.documentElement.dataset.found = JSON.stringify(found);
});</script>"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = overrides.load("digits", ["rounds=2", "training.epochs=1"], seeds=[0, 1]).tree()
    tree["description"] = HOSTILE
    tree["clients"][0]["name"] = HOSTILE
    done = semfed.run(tree, out=tmp_path_factory.mktemp("told") / "run").folder
    (done / "errors.log").write_text(HOSTILE)
    return done


@pytest.fixture(scope="module")
def told(folder: Path) -> str:
    return page([folder])


def test_the_numbers_are_those_of_the_summary(folder: Path, told: str) -> None:
    entry = json.loads((folder / "summary.json").read_text())["arms"]["clustered"]["final"]["accuracy/average"]
    half = (entry["ci95"][1] - entry["ci95"][0]) / 2
    assert f"{100 * entry['mean']:.2f} ± {100 * half:.2f}" in told
    for words in ("paired by seed", "p (ranks)", "MB up", "received SNR (dB)", "clusters of the first seed",
                  "Departures of digits from the paper", "settings that differ from the built-in scenario",
                  "environment and command", "checkpoint_every = 1"):  # fmt: skip
        assert words in told


def test_arms_are_compared_as_on_the_terminal(folder: Path, told: str) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    (group,) = summary["comparisons"]["accuracy/average"]
    table = comparison.paired_table(summary, group, read_metrics(folder).of("accuracy/average"), "accuracy/average")
    cells = [str(cell).strip() for column in table.columns for cell in column.cells]
    assert len(cells) == 6 * len(summary["arms"])
    assert all(f">{cell}</" in told for cell in cells)
    assert f"difference: arm − {group['reference']}, paired by seed, in points" in told


def test_what_users_write_is_text(told: str) -> None:
    assert "<script" not in told
    assert told.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 4, "description, client, scenario, errors"


def test_nothing_is_fetched(told: str) -> None:
    assert "default-src 'none'" in told
    assert not re.findall(r"<(?:link|script|iframe|object|img)\b", told)
    sources = re.findall(r"""(?:src|href)=["']([^"']*)["']""", re.sub(r"<a href=[^>]*>", "", told))
    assert all(source.startswith(("#", "data:")) for source in sources)


def look_at(text: str, folder: Path, *flags: str) -> dict[str, object]:
    """Open a page in a browser, which looks at its boxes, and return what it finds; it asks for nothing else."""
    if CHROMIUM is None:
        pytest.skip("a browser is needed: chromium or google-chrome")
    text = text.replace("default-src 'none';", "default-src 'none'; script-src 'unsafe-inline';")
    (folder / "page.html").write_text(text.replace("</body>", f"{LOOK}</body>"), encoding="utf-8")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
               "--disable-background-networking", "--disable-component-update", "--disable-sync",
               f"--user-data-dir={folder / 'profile'}",
               "--host-resolver-rules=MAP * ~NOTFOUND",
               "--enable-logging=stderr", "--hide-scrollbars", *flags, "--dump-dom",
               (folder / "page.html").as_uri()]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    said = re.findall(r':CONSOLE[:(]\d+\)?\] "?([^"]*)', done.stderr)
    assert said == ["looked"], said
    found = re.search(r'data-found="([^"]*)"', done.stdout)
    assert found is not None, done.stderr
    result: dict[str, object] = json.loads(found[1].replace("&quot;", '"'))
    assert result.pop("asked") == []
    return result


@pytest.mark.parametrize("width", [1280, 400])
def test_a_browser_shows_everything_inside_of_its_box(told: str, tmp_path: Path, width: int) -> None:
    found = look_at(told, tmp_path, f"--window-size={width},900")
    assert found["over"] == []
    assert found["tables"] >= 9
    assert found["figures"] == told.count("<figcaption>") >= 10
    assert (found["scripts"], found["twice"]) == (1, 0), "ours, which looks"


@pytest.mark.parametrize(
    ("scheme", "background", "ink"),
    [("1", "rgb(255, 255, 255)", "rgb(26, 26, 26)"), ("0", "rgb(22, 24, 28)", "rgb(232, 232, 232)")],
)
def test_light_and_dark(told: str, tmp_path: Path, scheme: str, background: str, ink: str) -> None:
    found = look_at(told, tmp_path, f"--blink-settings=preferredColorScheme={scheme}")
    assert (found["background"], found["ink"]) == (background, ink)


def test_runs_side_by_side_differ_in_settings(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    semfed.run("digits", seeds=[0], overrides=["rounds=1", "snr_db=3"], out=other)
    text = page([folder, other])
    assert re.search(r"channel\.snr_db</th><td[^>]*>6\.0205\d*</td><td[^>]*>3\.0</td>", text)
    assert re.search(r"rounds</th><td[^>]*>2</td><td[^>]*>1</td>", text)
    with pytest.raises(RunFolderError, match="a page of 2 runs belongs to none of their folders: give --out FILE.html"):
        write([folder, other])


def test_an_incomplete_run_says_so(folder: Path, tmp_path: Path) -> None:
    left = shutil.copytree(folder, tmp_path / "left")
    summary = json.loads((left / "summary.json").read_text()) | {"complete": False, "error": "client 'x' <failed>"}
    (left / "summary.json").write_text(json.dumps(summary))
    assert "This run is incomplete: client &#39;x&#39; &lt;failed&gt;" in page([left])
    (left / "summary.json").unlink()
    assert "This run is incomplete: it has not ended, or was killed" in page([left])


def test_the_command(folder: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["report", str(folder)])
    assert result.output.strip() == str(folder / "report.html")
    assert (folder / "report.html").read_text().startswith("<!DOCTYPE html>")
    nowhere = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert nowhere.exit_code == 1
    lost = CliRunner().invoke(app, ["report", str(folder), "--out", str(tmp_path / "no" / "page.html")])
    assert lost.exit_code == 1


def test_a_thousand_trials_take_seconds(tmp_path: Path) -> None:
    """Processor time, which says nothing of what else runs here: 25 SNRs and 4 learning rates with 10 seeds."""
    sweep = ["channel.snr_db=-10:14:1", "training.lr=0.01,0.02,0.05,0.1"]
    scenario = overrides.load("digits", seeds=range(10), arms="clustered", sweep=sweep)
    write_atomically(tmp_path / "scenario.toml", scenario.to_toml())
    describe(tmp_path, scenario)
    lines = [
        {"arm": arm, "seed": seed, "round": round_, "client": client, "metric": metric, "value": 0.5 + seed / 100}
        for arm in scenario.arm_names
        for seed in scenario.seeds
        for round_ in range(1, 11)
        for client in ("Sat 1", "Sat 2", "Sat 3")
        for metric in ("accuracy/average", "loss/average", "cost/bytes_up", "cost/bytes_down")
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "summary.json").write_text(json.dumps(of_folder(tmp_path)))
    began = time.process_time()
    text = page([tmp_path])
    assert time.process_time() - began < 20
    assert text.count("<tr>") > 100


def test_figures_and_page_need_neither_plugins_nor_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A metric, a channel and its setting of somebody's own, known to another process only, and gone by now."""
    own = tmp_path / "plugin"
    own.mkdir()
    (own / "third_party_parts.py").write_text(PLUGIN)
    done = subprocess.run([sys.executable, "-c", RUN, str(own), str(tmp_path / "run")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(own)
    monkeypatch.delenv("SEMFED_DATA", raising=False)
    with caplog.at_level(logging.WARNING):
        names = {path.stem for path in plots.plot(tmp_path / "run")}
        text = page([tmp_path / "run"])
    assert not caplog.records, "no figure is left out"
    assert {"psnr-average-vs-channel.shift_hz", "twice-average-vs-channel.shift_hz"} <= names
    assert "average PSNR (dB) against Doppler shift (Hz)" in text


PLUGIN = """
from pydantic import Field
from torch.nn.functional import mse_loss
from semfed.channels.awgn import AWGN
from semfed.events.metrics import Metric
from semfed.flower.client.learner import Learner
from semfed.training.objective import Networks, Total


class Shifted(AWGN):
    class Settings(AWGN.Settings):
        shift_hz: float = Field(default=0.0, title="Doppler shift (Hz)")

    def distort(self, x, state):
        return super().distort(x, state) + self.settings.shift_hz


class Own(Learner):
    tells_labels = False
    metrics = (Metric("psnr", unit="dB", better="higher", text="PSNR"), Metric("twice", role="detail"))

    @classmethod
    def headlines(cls, scenario):
        return ("psnr/average",)

    def networks(self, build):
        return Networks({"encoder": build.encoder(), "decoder": build.decoder(64, shared=True)})

    def loss(self, nets, batch, send):
        return mse_loss(nets.decoder(send(nets.encoder(batch.images))), batch.images.flatten(1))

    def score(self, nets, batch, send):
        return {"psnr": Total(20.0 * len(batch.images), len(batch.images)), "twice": Total(2.0, 1)}
"""
RUN = """
import sys
import semfed
sys.path.insert(0, sys.argv[1])
semfed.run({
    "name": "own", "rounds": 1, "seeds": [0],
    "data": {"source": "digits", "partition": {"name": "iid", "per_client": 20}},
    "tasks": {"digit": {"values": list(range(10))}}, "clients": {"count": 2, "task": "digit"},
    "model": {"encoder": "mlp", "decoder": "mlp"}, "channel": {"name": "third_party_parts:Shifted", "uses": 8},
    "training": {"batch_size": 10, "lr": 0.1}, "learner": "third_party_parts:Own", "strategy": "fedavg",
}, sweep="channel.shift_hz=0,1", out=sys.argv[2])
"""
