"""perdure.toml: every fault at once, with its key; defaults; frozen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from perdure import config
from perdure.errors import ConfigError, UsageError

MINIMAL = '[model]\nname = "weather"\n[data]\ntarget = "rain"\ntask = "classification"\n'


def test_a_minimal_file_has_every_default() -> None:
    parsed = config.parse(MINIMAL)
    assert [s.name for s in parsed.training.strategies] == ["replay"]
    assert parsed.metric == "accuracy"
    assert parsed.promotion.mode == "automatic"
    assert parsed.data.test == 0.2


def test_every_fault_is_reported_together_with_its_key() -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse(
            '[model]\nfoo = 1\n[data]\ntask = "guess"\ntest = 0.9\n'
            "[training]\nepochs = 0\nstrategies = [3]\n[gates]\npast_margin = -1\n"
        )
    faults = "\n".join(caught.value.faults)
    for key in (
        "model.name: is required",
        "model.foo: unknown key",
        "data.target: is required",
        "data.task = 'guess'",
        "data.test = 0.9",
        "training.epochs = 0",
        "training.strategies.0 = 3",
        "gates.past_margin = -1",
    ):
        assert key in faults
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[model", "not valid TOML"),
        (MINIMAL.replace("weather", "a/b"), "model.name = 'a/b'"),
        (MINIMAL + '[evaluation]\nmetric = "rmse"', "does not fit"),
        (MINIMAL + "[training]\nstrategies = []", "training.strategies"),
        (MINIMAL + '[training]\ndevice = "gpu"', "training.device = 'gpu'"),
        (MINIMAL + "[training]\nlearning_rate = nan", "training.learning_rate"),
        (MINIMAL.replace("[data]", "[data]\ntest = 0.5\nvalidation = 0.5"), "leave"),
    ],
)
def test_a_fault_names_what_is_wrong(text: str, part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse(text)
    assert part in str(caught.value)


def test_a_parsed_configuration_cannot_be_changed() -> None:
    parsed = config.parse(MINIMAL)
    with pytest.raises(ValidationError):
        parsed.training.epochs = 3


def test_strategies_are_names_or_tables() -> None:
    parsed = config.parse(
        MINIMAL + '[training]\nstrategies = ["naive", {name = "ewc", penalty = 3.5}]'
    )
    naive, ewc = parsed.training.strategies
    assert (naive.name, naive.settings) == ("naive", {})
    assert (ewc.name, ewc.settings) == ("ewc", {"penalty": 3.5})


def test_no_workspace_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="perdure init"):
        config.read(tmp_path)


def test_further_checks_report_together(tmp_path: Path) -> None:
    (tmp_path / "perdure.toml").write_text(MINIMAL)

    def check(_config: config.Config, _root: Path) -> list[str]:
        return ["a.b: one", "c.d: two"]

    with pytest.raises(ConfigError) as caught:
        config.read(tmp_path, [check])
    assert caught.value.faults == ("a.b: one", "c.d: two")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(
        st.sampled_from(["model", "data", "training", "gates", "promotion", "other"]),
        st.dictionaries(
            st.sampled_from(
                ["name", "target", "task", "test", "epochs", "strategies", "floor", "mode"]
            ),
            values,
        ),
    )
)
def test_whatever_stands_there_parses_or_is_explained(raw: dict[str, Any]) -> None:
    faults: list[str] = []
    try:
        config.Config.model_validate(raw)
    except ValidationError as error:
        faults = config.faults_of(error)
    else:
        return
    assert faults
    assert all(faults)


def test_strategies_are_checked_beside_other_faults(tmp_path: Path) -> None:
    from perdure.strategies import catalogue

    faulty = MINIMAL.replace("weather", "a/b") + '[training]\nstrategies = ["nave"]\n'
    (tmp_path / "perdure.toml").write_text(faulty)
    with pytest.raises(ConfigError) as caught:
        config.read(tmp_path, [catalogue.check])
    assert [fault.split(" ")[0].rstrip(":") for fault in caught.value.faults] == [
        "model.name",
        "training.strategies.0.name",
    ]
