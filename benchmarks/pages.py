"""The tables as they are printed, and as they stand in the documentation."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rich.table import Table

from benchmarks import results
from benchmarks.results import Row
from perdure.strategies import catalogue
from perdure.strategies.declaration import Strategy

ROOT = Path(__file__).resolve().parents[1]
BESIDE = {"quality": "published", "speed": "stock Avalanche", "growth": "stock Avalanche",
          "files": "stock Avalanche", "tables": "boosting / linear"}  # fmt: skip
KEYS = (
    "equal", "speed", "growth", "retrainings", "files", "large", "unattended", "quality", "survey",
    "decisions", "tables", "years", "speed cuda", "largest cuda",
)  # fmt: skip
"""What results are kept under: a part, and where it is not the CPU, the device."""
UNITS = ("ms", "s", "%", "GB")
"""What stands behind a figure; others say it in their note."""
Cells = Sequence[str]


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def _digits(row: Row) -> int:
    return {"quality": 4, "decisions": 3, "tables": 3, "years": 3, "largest": 0, "files": 0}.get(
        row.part, 2
    )


def _target(row: Row) -> str:
    if row.target is None:
        return ""
    return f"{'at most' if row.most else 'at least'} {row.target:g}"


def _measured(row: Row) -> str:
    if row.value is None:
        return ""
    if row.part == "equal":
        return "equal" if row.value == 1 else f"{row.value:.1%} equal"
    return f"{_number(row.value, _digits(row))}{f' {row.unit}' if row.unit in UNITS else ''}"


COLUMNS: dict[str, Callable[[Row], str]] = {
    "what": lambda row: row.name,
    "measured": _measured,
    "wanted": _target,
    "result": lambda row: row.short,
    "beside": lambda row: row.beside,
    "state dropped": lambda row: _number(row.control, 4),
    "naive": lambda row: _number(row.naive, 4),
    "": lambda row: row.note,
}
"""A column that is empty in every row is left out."""

SURVEY: dict[str, Callable[[Row], str]] = {
    "strategy": lambda row: row.name,
    "new classes": lambda row: _number(row.figures.get("classes"), 2),
    "inputs change": lambda row: _number(row.figures.get("inputs"), 2),
    "time, of naive": lambda row: _number(row.figures.get("time"), 1),
    "keeps": lambda row: _size(row.figures.get("bytes", 0)),
}


def _size(count: float) -> str:
    if count < 1000:
        return f"{count:.0f} B"
    return f"{count / 1e3:.0f} kB" if count < 1e6 else f"{count / 1e6:.1f} MB"


def cells(rows: Sequence[Row]) -> tuple[Cells, list[Cells]]:
    """Head and rows of a table."""
    part = rows[0].part
    columns = SURVEY if part == "survey" else COLUMNS
    made = {head: [cell(row) for row in rows] for head, cell in columns.items()}
    kept = {head: column for head, column in made.items() if any(column)}
    heads = [BESIDE.get(part, head) if head == "beside" else head for head in kept]
    return heads, list(zip(*kept.values(), strict=True))


def printed(title: str, rows: Sequence[Row]) -> Table:
    """For the terminal."""
    head, body = cells(rows)
    table = Table(*head, title=title, title_justify="left")
    for line in body:
        table.add_row(*line)
    return table


def markdown(head: Cells, body: Iterable[Cells]) -> str:
    """For a page."""
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def table(key: str) -> str:
    """What was measured last of a part: the machine, the table, how to repeat it."""
    stored = results.load()
    rows = results.rows(stored, key)
    if not rows:
        return "Not measured yet."
    part = rows[0].part
    again = f'`python -m benchmarks {part} --only "{rows[0].name}"` measures one row again.'
    return f"{stored[key]['machine']}. {again}\n\n{markdown(*cells(rows))}"


def unmet() -> list[str]:
    """Names of the rows that miss their target, or could not be measured, as `part: name`."""
    stored = results.load()
    return [
        f"{row.part}: {row.name}"
        for key in stored
        for row in results.rows(stored, key)
        if row.met is False
    ]


def strategies() -> str:
    """What each strategy keeps and costs, and what it fits."""
    head = ("strategy", "what it keeps", "memory", "cost", "new classes", "goes beside")
    known = catalogue.discover()
    return markdown(head, (_line(known[name], anchor) for name, anchor in anchors(known).items()))


def _line(strategy: Strategy, anchor: str) -> Cells:
    return (
        f"[`{strategy.name}`](#{anchor})",
        strategy.summary,
        strategy.memory,
        strategy.cost,
        "yes" if strategy.grows else "no",
        ", ".join(f"`{name}`" for name in sorted(strategy.combines)) or "nothing",
    )


def anchors(names: Iterable[str]) -> dict[str, str]:
    """What links to headings look like on GitHub: of two that are alike the second has a number."""
    found: dict[str, str] = {}
    for name in names:
        plain = re.sub(r"[^\w\- ]", "", name.lower()).replace(" ", "-")
        times = sum(re.sub(r"-\d+$", "", one) == plain for one in found.values())
        found[name] = f"{plain}-{times}" if times else plain
    return found


def words(settings: Callable[[Strategy], str]) -> str:
    """A section for each strategy; `settings` gives the table of its settings, or nothing."""
    return "\n\n".join(_section(one, settings(one)) for one in catalogue.discover().values())


def _section(strategy: Strategy, settings: str) -> str:
    fits = " and ".join(strategy.fits)
    lines = [
        f"### {strategy.name}",
        "",
        f"*{_sentence(strategy.summary)}* For {fits}. Memory: {strategy.memory}. "
        f"Cost: {strategy.cost}.",
    ]
    if strategy.fails:
        lines += ["", f"It fails {strategy.fails}."]
    if not strategy.grows:
        lines += ["", "No class may come in a later experience."]
    if not strategy.bounded:
        lines += ["", "Its cost and memory grow with every experience: a reference to measure by."]
    if strategy.combines:
        others = ", ".join(f"`{name}`" for name in sorted(strategy.combines))
        lines += ["", f"Works beside {others}."]
        if strategy.conflicts_reason:
            lines[-1] += f" Not beside others of its kind: {strategy.conflicts_reason}."
    elif strategy.standalone:
        lines += ["", f"Works beside no other: {strategy.standalone}."]
    if measured := _measured_of(strategy.name):
        lines += ["", measured]
    if settings:
        lines += ["", settings]
    if strategy.reference:
        lines += ["", f"{_linked(strategy.reference)}."]
    return "\n".join(lines)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _linked(reference: str) -> str:
    return re.sub(r"^(.*), (https?://\S+)$", r"[\1](\2)", reference)


def _measured_of(name: str) -> str:
    """Its figures, in a sentence."""
    rows = {row.name: row for row in results.rows(results.load(), "survey")}
    if name not in rows or "naive" not in rows:
        return ""
    mine, naive = rows[name].figures, rows["naive"].figures
    return (
        f"Measured: {mine['classes']:.2f} where classes are new (naive {naive['classes']:.2f}), "
        f"{mine['inputs']:.2f} where inputs change (naive {naive['inputs']:.2f}), "
        f"{mine['time']:.1f} times the time of naive; it kept {_size(mine['bytes'])}."
    )


def write() -> str:
    """Write the pages, as `python docs/generate.py` does, and the figure; what that printed."""
    from benchmarks import retrainings, retrainings_figure  # they import the flows

    for row in results.rows(results.load(), retrainings.PART):
        if row.name == retrainings.EACH:
            retrainings_figure.draw(row.figures, retrainings.EARLY)
    command = [sys.executable, str(ROOT / "docs" / "generate.py")]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
