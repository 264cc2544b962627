"""The one look that all of Perdure's output has."""

from __future__ import annotations

from rich import box
from rich.markup import escape
from rich.table import Table

from perdure import verdict_table
from perdure.records import Learned, Metrics, Verdict

GOOD, BAD = "[green]✓[/]", "[red]✗[/]"
NOTED = "[yellow]![/]"


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


MARKS = {"passed": GOOD, "refused": BAD, "undecided": "[yellow]?[/]"}
"""Before what a gate says."""


def verdict_grid(verdict: Verdict) -> Table:
    """Every gate's answer and numbers."""
    names = verdict_table.HEADER
    grid = table(*(f">{n}" if n in verdict_table.NUMBERS else n for n in names))
    colours = {"passed": "green", "refused": "red", "undecided": "yellow"}
    for reason, row in zip(verdict.reasons, verdict_table.rows(verdict), strict=True):
        gate, answer, *rest = map(escape, row)
        grid.add_row(gate, f"[{colours[reason.answer]}]{answer}[/]", *rest)
    return grid


def verdict_word(one: Learned) -> str:
    """The verdict in one coloured word."""
    if one.verdict == "postponed":
        return "[yellow]postponed[/]"
    if one.reasons:
        return f"[red]{one.verdict}, held[/]"
    word = "passed" if one.verdict == "passed" else "undecided, let through"
    return "[green]promoted[/]" if one.promoted else f"[green]{word}[/]"


def main_metric(metrics: Metrics | None) -> float | None:
    """Accuracy, or R²."""
    return metrics.get("accuracy", metrics.get("r2")) if metrics else None
