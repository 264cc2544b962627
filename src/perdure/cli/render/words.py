"""The one look that all of Perdure's output has."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich import box
from rich.table import Table

from perdure import arrival_table, drift_table, verdict_table
from perdure.cli.console import escape, out
from perdure.records import Arrival, Drift, Learned, Metrics, Verdict

GOOD, BAD = "[green]✓[/]", "[red]✗[/]"
NOTED = "[yellow]![/]"
NARROW = 120
"""Columns of a terminal below which wide tables are packed closely."""
IN_THE_UNIT = frozenset({"mae", "rmse"})
"""Metrics in the target's unit, which may be of any size."""
NEARLY_ALL = 0.9
"""Share of distinct rows above which they are not worth a word."""


def table(*columns: str, title: str | None = None) -> Table:
    """An empty table; a column that is marked with `>` holds numbers."""
    result = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for column in columns:
        if column.startswith(">"):
            result.add_column(column[1:], justify="right", overflow="fold")
        else:
            result.add_column(column, overflow="fold")
    return result


def number(value: float | None) -> str:
    """Three decimals, or a dash."""
    return "–" if value is None or value != value else f"{value:.3f}"


def counted(count: int, what: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def rows_counted(rows: int, distinct: int | None) -> str:
    """`700 rows, 12 of them distinct`; `700 rows` where nearly all are, or it is not known."""
    if distinct is None or distinct > NEARLY_ALL * rows:
        return counted(rows, "row")
    return f"{counted(rows, 'row')}, {distinct} of them distinct"


MARKS = {"passed": GOOD, "refused": BAD, "undecided": "[yellow]?[/]"}
"""Before what a gate says."""


def verdict_grid(verdict: Verdict) -> Table:
    """Every gate's answer and numbers."""
    grid = _grid(verdict_table.HEADER, verdict_table.NUMBERS)
    colours = {"passed": "green", "refused": "red", "undecided": "yellow"}
    for reason, row in zip(verdict.reasons, verdict_table.rows(verdict), strict=True):
        gate, answer, *rest = map(escape, row)
        grid.add_row(gate, f"[{colours[reason.answer]}]{answer}[/]", *map(_folded, rest))
    return grid


def learned_grid(metric: str) -> Table:
    """An empty table of what a retraining learned; its head names the metric, and its good side."""
    name = metric.replace("_", "_\n") if _narrow() else metric
    side = arrow(metric)
    grid = _grid(
        ["experience", "version", "verdict", f"{name}\nbefore {side}", f"{name}\naverage {side}",
         "test\nrows", "forgetting\n↓" if _narrow() else "forgetting ↓"],
        (),
    )  # fmt: skip
    for place, column in enumerate(grid.columns):
        column.justify = "left" if place in (0, 2) else "right"
    grid.caption_justify = "left"
    return grid


def drift_grid(drift: Drift, most: int = drift_table.MOST) -> Table:
    """Every column's distance from what the champion learned from; of many, the farthest.

    What differs stands below the table where the terminal is narrow, and nowhere where nothing
    does.
    """
    *names, differs = drift_table.HEADER
    reasons = any(one.reason for one in drift_table.shown(drift, most))
    grid = _grid([*names, differs] if reasons and not _narrow() else names, drift_table.NUMBERS)
    colours = {"broken": "red", "drifting": "yellow", "as ever": "green"}
    notes = []
    for column, level, *rest, reason in drift_table.rows(drift, most):
        cells = [escape(column), f"[{colours[level]}]{level}[/]", *map(escape, rest)]
        if reasons and not _narrow():
            cells.append(escape(reason))
        elif reason:
            notes.append(escape(f"{column}: {reason}"))
        grid.add_row(*cells)
    left = len(drift.columns) - most
    if left > 0:
        notes.append(f"… and {counted(left, 'more column')}, nearer than these")
    if notes:
        grid.caption, grid.caption_justify = "\n".join(notes), "left"
    return grid


def arrival_grid(arrival: Arrival) -> Table:
    """What an experience showed of those that might serve."""
    grid = _grid(arrival_table.HEADER, arrival_table.NUMBERS)
    for row, version in zip(arrival_table.rows(arrival), _versions(arrival), strict=True):
        won = arrival.version is not None and version == arrival.version
        grid.add_row(*(f"[bold green]{cell}[/]" if won else cell for cell in map(escape, row)))
    return grid


def _grid(names: Sequence[str], numbers: Collection[str]) -> Table:
    """An empty table, packed closely where the terminal is narrow."""
    grid = table(*(f">{name}" if name in numbers else name for name in names))
    if _narrow():
        grid.padding = 0
    return grid


def _narrow() -> bool:
    return out.width < NARROW


def _folded(cell: str) -> str:
    """A cell that folds between words where the terminal is narrow."""
    if not _narrow():
        return cell
    return cell.replace("_", "_\n").replace(" (", "\n(").replace(" to ", " to\n")


def _versions(arrival: Arrival) -> list[int | None]:
    return [arrival.champion, *(one.version for one in arrival.standings)]


def verdict_word(one: Learned) -> str:
    """The verdict in one coloured word."""
    if one.verdict == "postponed":
        promoted = one.arrival is not None and one.arrival.action == "promoted"
        return "[green]contender promoted[/]" if promoted else "[yellow]rolled back[/]"
    if one.version is None and one.reasons:
        return "[red]held[/]"
    if one.reasons:
        return f"[red]{one.verdict}, held[/]"
    word = "passed" if one.verdict == "passed" else "undecided, let through"
    return "[green]promoted[/]" if one.promoted else f"[green]{word}[/]"


def measured(metric: str, value: float | None) -> str:
    """A value of a metric: three decimals; of one in the target's unit as many as it needs."""
    if metric not in IN_THE_UNIT or value is None or not 0 < abs(value) < float("inf"):
        return number(value)
    if abs(value) >= 100:
        return f"{value:,.1f}"
    return number(value) if abs(value) >= 0.1 else f"{value:.3g}"


def of(metrics: Metrics | None, metric: str) -> float | None:
    """One of the metrics; None: nothing was measured."""
    return metrics.get(metric) if metrics else None


def arrow(metric: str) -> str:
    """`↑` where more of a metric is better, `↓` where less is."""
    from perdure.config import LOWER_IS_BETTER  # pydantic takes longer to import than --help

    return "↓" if metric in LOWER_IS_BETTER else "↑"


def direction(metric: str) -> str:
    """Which way is good, in words."""
    return "higher is better" if arrow(metric) == "↑" else "lower is better"
