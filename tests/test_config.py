"""perdure.toml: every fault at once, with its key; defaults; frozen."""

from __future__ import annotations

import subprocess
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


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ("gates", "past_margin = true"),
        ("gates", "floor = true"),
        ("gates", 'lost = "0.1"'),
        ("gates", "slices = true"),
        ("training", "epochs = true"),
        ("training", 'epochs = "1"'),
        ("training", "seed = 1.0"),
        ("training", "learning_rate = true"),
        ("training", 'compile = "true"'),
        ("trigger", "min_rows = true"),
        ("trigger", "debounce = true"),
        ("resources", "nice = true"),
        ("tournament", "anchor_every = true"),
        ("drift", 'false_alarms = "0.01"'),
    ],
)
def test_a_value_of_another_type_is_refused_and_not_converted(section: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse(f"{MINIMAL}[{section}]\n{line}\n")
    key, _, _ = line.partition(" = ")
    (fault,) = caught.value.faults
    assert fault.startswith(f"{section}.{key} = ")


def test_a_whole_number_is_a_number() -> None:
    parsed = config.parse(f"{MINIMAL}[gates]\npast_margin = 1\n[training]\nlearning_rate = 1\n")
    assert (parsed.gates.past_margin, parsed.training.learning_rate) == (1.0, 1.0)


@pytest.mark.parametrize("name", ["", " ", "a\\u0000b", "a\\nb", "\\u001b[31m", "\\u202eb"])
def test_a_name_is_one_line_of_text(name: str) -> None:
    with pytest.raises(ConfigError, match=r"model\.name = .*one line of text"):
        config.parse(MINIMAL.replace("weather", name))
    if name.strip():
        with pytest.raises(ConfigError, match=r"gates\.slices\.0\.name = .*one line of text"):
            config.parse(f'{MINIMAL}[[gates.slices]]\nwhere = "a > 1"\nname = "{name}"\n')


def test_what_is_nested_too_deeply_is_refused() -> None:
    with pytest.raises(ConfigError, match="nested too deeply"):
        config.parse("a = " + "[" * 5000 + "]" * 5000)


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


def test_an_empty_clone_says_what_its_remote_lacks(tmp_path: Path) -> None:
    """As where `git init --bare` has another default branch than the one that was pushed."""
    remote, clone = tmp_path / "remote.git", tmp_path / "clone"
    subprocess.run(["git", "init", "--quiet", "--bare", str(remote)], check=True)
    subprocess.run(["git", "clone", "--quiet", str(remote), str(clone)], check=True)
    with pytest.raises(UsageError, match="the default branch of its remote is empty") as caught:
        config.read(clone)
    assert "git init --bare -b main" in (caught.value.hint or "")
