from pathlib import Path

import pytest

from semfed.errors import ScenarioError
from semfed.flower.server.app import read_run_config
from semfed.scenario import built_in


def test_a_run_config_is_overrides_arms_and_seeds() -> None:
    config = {"scenario": "digits", "rounds": 3, "arms": "individual, clustered", "seeds": "4-5",
              "set": "channel.snr_db=3; strategy.weighted=true", "out": "", "data-root": ""}  # fmt: skip
    scenario = read_run_config(config)
    assert (scenario.rounds, scenario.seeds, scenario.arm_names) == (3, (4, 5), ("clustered", "individual"))
    assert scenario.channel.settings.model_dump()["snr_db"] == 3
    assert scenario.strategy.settings.model_dump()["weighted"] is True


def test_the_scenario_of_the_app_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = built_in()["digits"].read_text().replace('name = "digits"', 'name = "mine"', 1)
    (tmp_path / "scenario.toml").write_text(own)
    monkeypatch.syspath_prepend(tmp_path)
    assert read_run_config({"scenario": "scenario.toml"}).name == "mine"


def test_a_key_that_is_no_setting_is_refused() -> None:
    with pytest.raises(ScenarioError, match="'ronds': no such setting; did you mean 'rounds'"):
        read_run_config({"scenario": "digits", "ronds": 3})
