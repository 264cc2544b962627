"""docs/configuration.md: every key, its present default, and a model of one's own."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import BaseModel

from perdure import config
from perdure.config import training
from perdure.flows import templates
from perdure.strategies import catalogue, models
from perdure.tasks.tables import schema
from tests.docs import pages

PAGE = "configuration.md"

SECTIONS: dict[str, type[BaseModel]] = {
    "config model": config.ModelConfig,
    "config data": config.DataConfig,
    "config training": config.TrainingConfig,
    "training optimizer": training.OptimizerConfig,
    "training schedule": training.ScheduleConfig,
    "training augmentation": training.AugmentationConfig,
    "config evaluation": config.EvaluationConfig,
    "config gates": config.GatesConfig,
    "gates slices": config.SliceConfig,
    "gates own": config.OwnGateConfig,
    "config drift": config.DriftConfig,
    "config promotion": config.PromotionConfig,
    "config tournament": config.TournamentConfig,
    "config tracking": config.TrackingConfig,
    "config schedule": config.RetrainingSchedule,
    "config trigger": config.TriggerConfig,
    "config notify": config.NoticeConfig,
    "config resources": config.ResourcesConfig,
    "config shared": config.SharedConfig,
    "schema classification": schema.ClassTarget,
    "schema regression": schema.ValueTarget,
    "schema number": schema.NumberColumn,
    "schema category": schema.CategoryColumn,
    "schema time": schema.TimeColumn,
    "schema image": schema.ImageColumn,
    "schema text": schema.TextColumn,
    "schema sequence": schema.SequenceColumn,
    "schema ignore": schema.IgnoredColumn,
    "schema file": schema.Schema,
}
CHOOSES = {"kind", "task"}
"""Keys that say which section it is: the class has a default for them, the file has not."""
OWN_SECTIONS = {"target", "columns"}
"""Keys of the schema that have sections of their own."""


CHANGED = {
    "commands.md": ("| 1 | a fault |", "| 1 | something else |"),
    "configuration.md": ("| `30` |", "| `31` |"),
    "benchmarks.md": ("\n<!-- end -->\n\n### On a GPU", "?\n<!-- end -->\n\n### On a GPU"),
    "gates.md": ("| rows | margin 0 |", "| rows | 0 |"),
    "strategies.md": ("| what it keeps |", "| keeps |"),
}
"""In generated parts: what stands there now, and what may have stood there before."""


def table(block: str) -> dict[str, tuple[str, str, str]]:
    part = pages.after(f"<!-- generated: {block} -->\n", pages.text(PAGE))
    return {
        key.strip("`"): (default, allowed, words)
        for key, default, allowed, words in pages.rows(part)
    }


def test_every_section_and_strategy_is_there() -> None:
    parts = set(pages.generator().names_in(pages.text(PAGE)))
    assert parts == {*SECTIONS, "strategies", "models"}
    assert {f"config {name}" for name in config.Config.model_fields} <= parts
    strategies = pages.after("<!-- generated: strategies -->\n", pages.text(PAGE))
    assert [row[0].strip("`") for row in pages.rows(strategies)] == list(catalogue.discover())


@pytest.mark.parametrize("block", SECTIONS)
def test_every_key_is_there_with_its_present_default(block: str) -> None:
    fields = {
        field.alias or name: field
        for name, field in SECTIONS[block].model_fields.items()
        if not (block == "schema file" and name in OWN_SECTIONS)
    }
    found = table(block)
    assert list(found) == list(fields)
    for key, field in fields.items():
        default, allowed, words = found[key]
        assert re.match(r".+\.$", words), f"{block}: {key} needs a sentence"
        assert allowed
        if field.is_required() or (key in CHOOSES and block.startswith("schema")):
            assert default == "required"
        elif field.get_default(call_default_factory=True) is None:
            assert default == "left out"
        else:
            value: Any = field.get_default(call_default_factory=True)
            if key == "strategies":
                value = [one.name for one in value]
            if isinstance(value, BaseModel):
                value = getattr(value, "name", {})
            if isinstance(value, tuple):
                value = list(value)
            assert json.loads(default.strip("`")) == value


def test_a_key_that_is_new_gets_an_empty_cell_and_a_known_one_keeps_its_words() -> None:
    before = "| `old` | `1` | whole number | What people wrote. |"
    old = {"type": "integer", "default": 2}
    made = pages.generator().settings({"old": old, "new": {"type": "boolean"}}, ["new"], before)
    assert made.splitlines()[2:] == [
        "| `old` | `2` | whole number | What people wrote. |",
        "| `new` | required | `true`, `false` |  |",
    ]


def test_the_pages_are_what_the_generator_writes() -> None:
    written = pages.generator().pages()
    assert [path.name for path in written] == [
        "benchmarks.md",
        "commands.md",
        "configuration.md",
        "gates.md",
        "strategies.md",
    ]
    for path in written:
        text = path.read_text(encoding="utf-8")
        assert pages.generator().regenerated(text) == text, "run: python docs/generate.py"
        now, before = CHANGED[path.name]
        assert now in text
        assert pages.generator().regenerated(text.replace(now, before)) == text


def test_every_example_is_a_configuration(tmp_path: Path) -> None:
    own = list(pages.blocks(pages.text(PAGE), "python"))[-1]
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "mine.py").write_text(own)
    minimal = {"model": {"name": "m"}, "data": {"target": "y", "task": "classification"}}
    examples = [
        tomllib.loads(block)
        for page in (PAGE, "gates.md", "operations.md")
        for block in pages.blocks(pages.text(page), "toml")
    ]
    assert len(examples) >= 4
    for example in examples:
        whole = config.Config.model_validate({**minimal, **example})
        assert catalogue.check(whole, tmp_path) == []
    assert config.Config.model_validate(examples[0]) == config.parse(
        '[model]\nname = "weather"\n[data]\ntarget = "rain"\ntask = "classification"\n'
    )


def own_model() -> str:
    return next(pages.blocks(pages.text(PAGE), "python"))


def factories() -> list[dict[str, Any]]:
    found = [tomllib.loads(block) for block in pages.blocks(pages.text(PAGE), "toml")]
    return [one["model"] for one in found if ":" in one.get("model", {}).get("factory", "")]


def test_a_model_of_ones_own_by_path_and_by_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_path, by_module = factories()
    place = tmp_path / by_path["factory"].partition(":")[0]
    place.parent.mkdir()
    place.write_text(own_model())
    name, _, _ = by_module["factory"].partition(":")
    package = tmp_path / "installed" / name.partition(".")[0]
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / f"{name.partition('.')[2]}.py").write_text(own_model())
    monkeypatch.syspath_prepend(str(package.parent))
    importlib.invalidate_caches()
    try:
        for one in (by_path, by_module):
            body = models.build(one["factory"], 6, 3, one["parameters"], tmp_path)
            assert body(torch.zeros(5, 6)).shape == (5, 3)
            widths = {tuple(p.shape) for p in body.parameters()}
            assert (one["parameters"]["width"], 6) in widths
    finally:
        for module in [m for m in sys.modules if m.partition(".")[0] == package.name]:
            del sys.modules[module]


def test_what_is_said_of_the_built_in_model_and_the_switches() -> None:
    part = pages.text(PAGE).partition("The built-in models, and what `parameters`")[2]
    result = {names.partition(",")[0].strip("`"): words for names, _, words in pages.rows(part)}
    assert list(result) == [*sorted(models.BUILT_IN, key=lambda name: name != "mlp"), "resnet18"]
    for name, words in result.items():
        known = models.built_in(name)
        assert known is not None
        settings = list(inspect.signature(known.make).parameters.values())[2:]
        shown = set(re.findall(r"`([a-z_]+)(?:`| = )", words))
        assert shown == {one.name for one in settings}
        for one in settings:
            default = list(one.default) if isinstance(one.default, tuple) else one.default
            text = f"{one.name} = {json.dumps(default)}" if default is not None else one.name
            assert f"`{text}`" in words, (name, text)
    assert (pages.ROOT / "src/perdure/telemetry.py").is_file()


def test_the_file_that_init_writes_has_the_defaults_of_the_code() -> None:
    """What stands there behind a # is the default, so it must be true when it is uncommented."""
    target = schema.ClassTarget(name="kind", classes=("no", "yes"))
    made = schema.Schema(target=target, columns={"a": schema.NumberColumn()})
    text = templates.configuration("small", made)
    lines = re.findall(r"^# (\w+) = (.+?)(?:  +#.*)?$", text, re.MULTILINE)
    written = dict(lines)
    known = models.built_in(tomllib.loads(f"x = {written['factory']}")["x"])
    assert known is not None
    given = tomllib.loads(f"x = {written['parameters']}")["x"]
    assert given
    for key, value in given.items():
        default = inspect.signature(known.make).parameters[key].default
        assert value == (list(default) if isinstance(default, tuple) else default), key
