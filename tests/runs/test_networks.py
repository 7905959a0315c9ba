"""Which networks a run folder keeps, and what becomes of it where something is missing."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import semfed
from semfed.checkpoint import files
from semfed.errors import FederationError, RunFolderError, SemfedError
from semfed.events.callbacks import TrainedNetworks
from semfed.runs import networks
from semfed.runs.networks import NetworksWriter
from tests.settings import bases

SHORT = ["rounds=1", "training.epochs=1"]
TEXT = "cost/simulation_bytes_down"
PLUGINS = Path(__file__).parents[1] / "plugins"


def run(out: Path, *overrides: str, base: str = "plain") -> Any:
    return semfed.run(bases.BASES[base](), overrides=list(overrides), out=out)


def test_none_keeps_nothing_and_changes_no_number(tmp_path: Path) -> None:
    """The exchange that collects networks is in no account; the scenario's text, which nodes are told, is."""
    kept, none = run(tmp_path / "kept"), run(tmp_path / "none", "keep_models=none")
    assert (kept.folder / "models" / "tiny-seed0" / "index.json").is_file()
    assert not (none.folder / "models").exists()
    told = [
        [line for line in (done.folder / name).read_text().splitlines() if not ('"round": 0' in line and TEXT in line)]
        for name in ("metrics.jsonl", "outcomes.jsonl")
        for done in (kept, none)
    ]
    assert len(told[0]) > 20
    assert told[0] == told[1]
    assert told[2] == told[3]
    with pytest.raises(RunFolderError, match=r"holds no networks: its scenario has keep_models = 'none'$"):
        none.link()


def test_what_several_clients_have_is_written_once(tmp_path: Path) -> None:
    done = run(tmp_path / "run")
    arrays = load_file(done.folder / "models" / "tiny-seed0" / "part-0.safetensors")
    encoder, decoder = 64 * 8 + 8 + 8 * 4 + 4, 4 * 6 + 6 + 6 * 10 + 10
    assert sum(array.size for array in arrays.values()) == encoder + 3 * decoder
    final = load_file(done.folder / "parameters" / "tiny-seed0.safetensors")
    for name in final:
        assert np.array_equal(arrays[f"shared-0/{name.removeprefix('0/')}"], final[name])
    np.testing.assert_array_equal(done.link(client=2).decoder[1].weight.numpy(), arrays["client-2/decoder.1.weight"])


def test_many_networks_go_to_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "PART_BYTES", 4_000)
    writer, shared = NetworksWriter(tmp_path / "models", 100), {"w": np.arange(5.0)}
    for k in range(100):
        assert not writer.complete
        own = {"decoder.w": np.full(100, k, np.float32), "decoder.count": np.array(k)}
        writer.add(TrainedNetworks(k, 3, own, shared, {"encoder.w": "w"}, {"mode": "m"}, {"title": "x"}))
    assert writer.complete
    parts = sorted((tmp_path / "models").glob("part-*.safetensors"))
    assert 10 <= len(parts) <= 12
    assert max(path.stat().st_size for path in parts) < 6_000
    for k in (0, 57, 99):
        weights, about = networks.read(tmp_path / "models", k, "who")
        assert weights["decoder.w"].tolist() == [k] * 100
        assert weights["decoder.count"].shape == ()
        assert weights["encoder.w"].tolist() == shared["w"].tolist()
        assert (about["round"], about["config"], about["images"]) == (3, {"mode": "m"}, {"title": "x"})


def test_missing_and_damaged_files_are_told_in_one_sentence(tmp_path: Path) -> None:
    done = run(tmp_path / "run")
    folder = done.folder / "models" / "tiny-seed0"
    part, index = folder / "part-0.safetensors", folder / "index.json"
    data, text = part.read_bytes(), index.read_text()
    part.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(RunFolderError, match="part-0.safetensors' is damaged: its SHA-256 is not what index.json says"):
        done.link()
    part.unlink()
    with pytest.raises(RunFolderError, match=r"part-0.safetensors' cannot be read \(.*No such file"):
        done.link()
    part.write_bytes(data)
    for damaged, words in (
        (text[:40], "cannot be read"),
        ('{"schema": 1}', "is damaged"),
        ('{"schema": 2}', "version 2"),
    ):
        index.write_text(damaged)
        with pytest.raises(RunFolderError, match=words):
            done.link()
    index.unlink()
    with pytest.raises(RunFolderError, match="holds no networks: the run did not keep any, or the trial has not ended"):
        done.link()


def test_weights_of_other_networks_are_refused(tmp_path: Path) -> None:
    done = run(tmp_path / "run")
    folder = done.folder / "models" / "tiny-seed0"
    part, index = folder / "part-0.safetensors", json.loads((folder / "index.json").read_text())
    arrays = load_file(part)
    save_file({**arrays, "client-0/decoder.1.weight": np.zeros((6, 5), np.float32)}, part)
    index["files"][part.name] = files.digest(part.read_bytes())
    (folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(SemfedError, match="are of other networks than the scenario's, see 'decoder.1.weight'"):
        done.link()


def test_a_client_that_fails_has_no_networks_and_the_others_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(PLUGINS)
    done = run(tmp_path / "run", "learner=unwilling:Unwilling")
    assert done.link(client="a").client == 0
    with pytest.raises(RunFolderError, match=r"no networks of client 'b' were kept: RuntimeError: no networks today$"):
        done.link(client="b")
    assert "no networks today" in (done.folder / "errors.log").read_text()
    with pytest.raises(
        FederationError, match=r"client 'b' failed in 'query.networks': RuntimeError: no networks today"
    ):
        run(tmp_path / "fail", "learner=unwilling:Unwilling", "on_client_failure=fail")


def test_clients_that_protect_what_they_tell_give_no_networks_away(tmp_path: Path) -> None:
    private = 'privacy={labels={epsilon=1.0}, noise="seeded"}'
    done = run(tmp_path / "run", private)
    assert not (done.folder / "models").exists()
    with pytest.raises(
        RunFolderError, match=r"holds no networks: its scenario has \[privacy\], and clients keep theirs"
    ):
        done.link()


def test_learners_of_others_get_links_for_nothing_or_are_told_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(PLUGINS)
    mine = run(tmp_path / "free", "learner=precise:PreciseClient")
    assert mine.link(client="c").values == {"digit": tuple("0123456789")}
    pictures = run(tmp_path / "pictures", "learner=reporting:ReconstructingClient")
    with pytest.raises(SemfedError, match=r"decides nothing: its decoder gives 64 numbers for the 10 values"):
        pictures.link()
    stock = run(tmp_path / "stock", "learner=reporting:StockClient", 'strategy="flwr.serverapp.strategy:FedAvg"')
    with pytest.raises(RunFolderError, match="'reporting:StockClient' does not say what its networks are"):
        stock.link()


def test_everybody_has_networks_though_a_few_train_and_nobody_tests(tmp_path: Path) -> None:
    few = ["strategy.fraction_train=0.4", "strategy.fraction_evaluate=0"]
    done = run(tmp_path / "run", *few, base="fedavg")
    weights = [done.link(client=k).encoder[1].weight for k in range(3)]
    final = load_file(done.folder / "parameters" / "tiny-seed0.safetensors")
    for weight in weights:
        np.testing.assert_array_equal(weight.numpy(), final["encoder.1.weight"])
    stock = run(tmp_path / "stock", 'strategy="flwr.serverapp.strategy:FedMedian"', base="fedavg")
    final = load_file(stock.folder / "parameters" / "tiny-seed0.safetensors")
    np.testing.assert_array_equal(stock.link(client=1).encoder[1].weight.numpy(), final["encoder.1.weight"])
