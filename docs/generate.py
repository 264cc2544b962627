"""Write the parts of the documentation that the code already knows.

    python docs/generate.py

What stands between `<!-- generated: NAME -->` and `<!-- end -->` is written here; everything
else by people. In a table of settings the last column is people's too: it is kept by its key,
and a new key gets an empty cell, which a test refuses.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
import typing
from collections.abc import Callable, Container, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # started as a script: for benchmarks

from benchmarks import pages as measured
from perdure import config
from perdure.cli.app import app
from perdure.config import training
from perdure.errors import EXIT_CODES
from perdure.records import Evaluation, Evidence, Matrix, Measured
from perdure.strategies import catalogue, models
from perdure.strategies.declaration import Strategy
from perdure.tasks import evidence, gates
from perdure.tasks.evaluation import comparing
from perdure.tasks.evaluation.scores import Groups
from perdure.tasks.tables import columns, definition

DOCS = Path(__file__).resolve().parent
BLOCK = re.compile(r"(<!-- generated: ([a-z_+ -]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)

DISAGREE = 0.15
"""Share of the rows on which two models differ, in the tables about rows and differences."""
STREAMS, STEP, MOST = 101, 50, 100_000
"""Simulated streams, rows between two decisions, and rows of a stream at most."""

Json = Mapping[str, Any]


def commands() -> Mapping[str, Any]:
    """The commands by name, in the order of `perdure --help`."""
    found: Mapping[str, Any] = vars(typer.main.get_command(app))["commands"]
    return found


def example(command: Any) -> str:
    """The command line of a command's example; empty: it has none."""
    return str(command.epilog or "").partition("Example: ")[2]


def help_of(name: str, _before: str = "") -> str:
    """A command's sentence, usage, arguments and options, and example."""
    command = commands()[name]
    needed = [_shown(p) for p in command.params if p.required]
    optional = any(not p.required and p.param_type_name == "option" for p in command.params)
    free = [
        f"[{_shown(p)}]"
        for p in command.params
        if not p.required and p.param_type_name == "argument"
    ]
    usage = " ".join(["perdure", name, *needed, *free, *(["[OPTIONS]"] if optional else [])])
    lines = [command.help, "", "```text", usage, "```", "", "| | |", "|---|---|"]
    lines += [f"| `{_names(p)}` | {p.help} |" for p in command.params]
    return "\n".join([*map(str, lines), "", "```sh", example(command), "```"])


def _shown(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper())
    return f"{parameter.opts[0]} {_value(parameter)}"


def _value(parameter: Any) -> str:
    choices = typing.get_args(parameter.type_descriptor.annotation)
    if parameter.metavar is None and choices and all(isinstance(c, str) for c in choices):
        return "|".join(choices)
    return str(parameter.metavar or "TEXT")


def _names(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return _shown(parameter)
    names = ", ".join(parameter.opts)
    return (names if parameter.is_flag else f"{names} {_value(parameter)}").replace("|", "\\|")


def exit_codes() -> str:
    """The one table of exit codes."""
    rows = [f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items()]
    return "\n".join(["| code | meaning |", "|---|---|", *rows])


def settings(properties: Json, required: Container[str], before: str) -> str:
    """A table of settings; the last column is the code's, or taken over from the text before."""
    words = dict(_last_column(before))
    lines = ["| key | default | allowed | what it does |", "|---|---|---|---|"]
    for key, prop in properties.items():
        default = "required" if key in required or "const" in prop else _default(prop)
        said = " ".join(prop.get("description", words.get(key, "")).split())
        lines.append(f"| `{key}` | {default} | {_allowed(prop)} | {said} |")
    return "\n".join(lines)


def _last_column(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        if match := re.match(r"\| `(\w+)` \|.*?(?<!\\)\|.*?(?<!\\)\| ?(.*?) ?\|$", line):
            yield match[1], match[2]


def _default(prop: Json) -> str:
    value = prop.get("default", {})
    if value is None:
        return "left out"
    if isinstance(value, list):  # a strategy by its name alone
        value = [item["name"] if isinstance(item, dict) else item for item in value]
    if isinstance(value, dict):  # a table of its own: by its name alone, or empty
        value = value.get("name", {})
    return f"`{json.dumps(value)}`"


_KINDS = {
    "integer": "whole number",
    "boolean": "`true`, `false`",
    "object": "table",
    "array": "list",
    "string": "text",
}


def _allowed(prop: Json) -> str:
    if "anyOf" in prop:
        kinds = [p for p in prop["anyOf"] if p.get("type") != "null"]
        return " or ".join(dict.fromkeys(map(_allowed, kinds)))
    if "const" in prop or "enum" in prop:
        values = prop.get("enum", [prop.get("const")])
        return ", ".join(f"`{json.dumps(value)}`" for value in values)
    if "$ref" in prop:  # a section of its own
        return "name or table" if "name" in prop.get("default", {}) else "table"
    kind = str(_KINDS.get(prop["type"], prop["type"]))
    if "pattern" in prop:
        pattern = prop["pattern"].replace("|", "\\|")
        kind += f" that matches `{pattern}`"
    bounds = [
        f"{word} {prop[key]:,}"
        for key, word in (
            ("minimum", "from"),
            ("exclusiveMinimum", "above"),
            ("maximum", "to"),
            ("exclusiveMaximum", "below"),
            ("minItems", "of at least"),
            ("maxLength", "of at most"),
        )
        if key in prop
    ]
    return ", ".join([kind, " ".join(bounds)] if bounds else [kind])


def _of_model(schema: Any, before: str) -> str:
    found = schema.model_json_schema(by_alias=True)
    return settings(found["properties"], found.get("required", ()), before)


def strategies() -> str:
    """The strategies, and what goes with what."""
    rows = [
        f"| `{s.name}` | {s.summary} | {', '.join(s.fits)} "
        f"| {', '.join(f'`{other}`' for other in sorted(s.combines)) or 'nothing'} |"
        for s in catalogue.discover().values()
    ]
    head = ["| strategy | what it keeps | fits | combines with |", "|---|---|---|---|"]
    return "\n".join([*head, *rows])


_OF_TORCHVISION = (
    "| `resnet18`, `mobilenet_v3_small`, `convnext_tiny`, `vit_b_16` … | images, of the sizes that "
    "the model takes | `weights` (a file; none: untrained), `size` (pixels; none: as they are), "
    '`dropout` (none: as torchvision has it), `norm = "batch"` or `"group"` |'
)


def bodies() -> str:
    """The built-in models, and their parameters with the defaults of the code."""
    lines = ["| `factory` | for | `parameters`, with defaults |", "|---|---|---|"]
    for name, one in sorted(models.BUILT_IN.items(), key=lambda item: -len(item[1].takes)):
        everything = set(one.takes) == set(models.KINDS.values())
        takes = "everything; what is no table is flattened" if everything else ", ".join(one.takes)
        lines.append(f"| `{name}` | {takes} | {'; '.join(_parameters(one.make))} |")
    return "\n".join([*lines, _OF_TORCHVISION])


def _parameters(make: Callable[..., Any]) -> Iterator[str]:
    """What a body takes beside inputs and outputs: defaults, and the docstring's words."""
    about = inspect.getdoc(make) or ""
    words = dict(re.findall(r"^    (\w+): (.+(?:\n        .+)*)$", about, re.MULTILINE))
    for name, parameter in list(inspect.signature(make).parameters.items())[2:]:
        said = " ".join(words[name].split()).removesuffix(".")
        yield f"`{name} = {json.dumps(parameter.default)}` ({said[0].lower()}{said[1:]})"


def _settings_of(strategy: Strategy) -> str:
    """A table of a strategy's settings, in the words of the code; empty: it has none."""
    return _of_model(strategy.settings, "") if strategy.settings.model_fields else ""


def _measured(key: str, _before: str) -> str:
    return measured.table(key)


@cache
def shown_losses() -> str:
    """The smallest loss that a gate shows in four of five cases, by rows and margin."""
    margins = (0.0, 0.01, 0.02, 0.05, 0.1)
    lines = [f"| rows | {' | '.join(f'margin {m:g}' for m in margins)} |", "|" + "---|" * 6]
    for rows in (73, 200, 1000, 10_000):
        found = [f"{_shown_loss(rows, margin):.3f}" for margin in margins]
        lines.append(f"| {rows:,} | {' | '.join(found)} |")
    return "\n".join(lines)


def _shown_loss(rows: int, margin: float) -> float:
    truth, apart = np.zeros(rows, dtype=np.int64), round(rows * DISAGREE / 2)
    champion = np.tile([1.0, 0.0], (rows, 1))
    candidate = champion.copy()
    champion[:apart] = candidate[apart : 2 * apart] = [0.0, 1.0]
    compared = comparing.paired(
        "accuracy", truth, candidate, champion, Groups.one(np.ones(rows, dtype=np.float64))
    )
    nothing = Measured({}, None, None, {"accuracy": 1.0})
    numbers = Evaluation(
        metric="accuracy",
        candidate=nothing,
        champion=nothing,
        baseline={"accuracy": 0.5},
        prequential=None,
        matrix=Matrix("accuracy", (), ()),
        forgetting=None,
        backward_transfer=None,
        rows=rows,
        comparisons={"past": compared},
    )
    (reason,) = gates.judge(numbers, config.GatesConfig(past_margin=margin)).reasons
    assert reason.detectable is not None
    return reason.detectable


@cache
def decided_rows() -> str:
    """Rows until the tournament shows a difference, by its size and the margin."""
    lines = ["| true difference of the losses | contender (margin 0) | predecessor, anchor (margin "
             "0.01) |", "|---|---|---|"]  # fmt: skip
    for better in (0.01, 0.02, 0.05, 0.1):
        cells = [_decided(better, 0.0)]
        cells.append(_decided(better, 0.01) if better > 0.01 else "never")
        lines.append(f"| {better:g} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _decided(better: float, margin: float) -> str:
    """Median and nine tenths of the streams, to two digits."""
    alpha, up = 1.0 - config.GatesConfig().confidence, (DISAGREE + better) / 2
    found = []
    for seed in range(STREAMS):
        random, now = np.random.default_rng(seed), Evidence()
        while now.rows < MOST and not evidence.shows(now, alpha):
            draws = random.random(STEP)
            gains = np.where(draws < up, 1.0, np.where(draws < DISAGREE, -1.0, 0.0))
            now = evidence.collect(now, gains, margin)
        found.append(now.rows)
    middle, most = (float(f"{np.quantile(found, share):.2g}") for share in (0.5, 0.9))
    return f"{middle:,.0f} ({most:,.0f})"


def _schema_file(before: str) -> str:
    found = definition.Schema.model_json_schema(by_alias=True)
    plain = {key: p for key, p in found["properties"].items() if key not in ("target", "columns")}
    return settings(plain, found["required"], before)


def _section(annotation: Any) -> Any:
    """The model of a section, also of one that may stand there several times."""
    return next(iter(typing.get_args(annotation)), annotation)


def blocks() -> dict[str, Callable[[str], str]]:
    """Every generated part by name; each is made from what stood there before."""
    tables: dict[str, Any] = {
        "schema classification": definition.ClassTarget,
        "schema regression": definition.ValueTarget,
        "schema number": columns.NumberColumn,
        "schema category": columns.CategoryColumn,
        "schema time": columns.TimeColumn,
        "schema image": columns.ImageColumn,
        "schema text": columns.TextColumn,
        "schema sequence": columns.SequenceColumn,
        "schema ignore": columns.IgnoredColumn,
        **{f"config {n}": _section(f.annotation) for n, f in config.Config.model_fields.items()},
        "gates slices": config.SliceConfig,
        "gates own": config.OwnGateConfig,
        "training optimizer": training.OptimizerConfig,
        "training schedule": training.ScheduleConfig,
        "training augmentation": training.AugmentationConfig,
    }
    return {
        "exit codes": lambda _: exit_codes(),
        "shown losses": lambda _: shown_losses(),
        "decided rows": lambda _: decided_rows(),
        "models": lambda _: bodies(),
        "strategies": lambda _: strategies(),
        "strategies table": lambda _: measured.strategies(),
        "strategies words": lambda _: measured.words(_settings_of),
        **{f"measured {key}": partial(_measured, key) for key in measured.KEYS},
        "schema file": _schema_file,
        **{f"command {name}": partial(help_of, name) for name in commands()},
        **{name: partial(_of_model, kind) for name, kind in tables.items()},
    }


def names_in(text: str) -> list[str]:
    """The names of the generated parts of a page."""
    return [match[2] for match in BLOCK.finditer(text)]


def regenerated(text: str) -> str:
    """A page with every generated part as it must be now.

    Raises:
        KeyError: The page names a part that does not exist.
    """
    made = blocks()
    return BLOCK.sub(lambda m: f"{m[1]}{made[m[2]](m[3])}\n{m[4]}", text)


def pages() -> list[Path]:
    """The pages that have generated parts."""
    return [path for path in sorted(DOCS.glob("*.md")) if BLOCK.search(path.read_text("utf-8"))]


def main() -> None:
    """Rewrite every page that has changed, and say which."""
    for path in pages():
        old = path.read_text(encoding="utf-8")
        new = regenerated(old)
        if new != old:
            path.write_text(new, encoding="utf-8")
            sys.stdout.write(f"written: {path.relative_to(DOCS.parent)}\n")


if __name__ == "__main__":
    main()
