"""What stands: status, history, and single versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape

from perdure import arrival_table, disk, drift_table, running
from perdure.cli.console import out
from perdure.cli.render.service import parts
from perdure.cli.render.words import (
    BAD,
    arrival_grid,
    counted,
    drift_grid,
    number,
    table,
    verdict_grid,
)
from perdure.records import Arrival, Drift, Standing

Json = Mapping[str, Any]

MANY = 10
"""So many of a list are shown."""
WIDE = 12
"""So many of the latest experiences of the matrix are shown."""


def status(result: Json) -> None:
    """The state of a workspace."""
    counts = f"{counted(result['experiences'], 'experience')}, {counted(result['rows'], 'row')}"
    out.print(f"[bold]{escape(result['model'])}[/]: {counts}")
    for alias in ("champion", "challenger"):
        one = result[alias]
        if one is None:
            out.print(f"  {alias:<11} none")
            continue
        out.print(
            f"  {alias:<11} version [bold]{one['version']}[/], since {one['promoted_at'][:19]}Z, "
            f"learned {len(one['cursor'])}, weights {one['weights_sha256'][:8]}, "
            f"state {one['state_sha256'][:8]}"
        )
    for alias in result["moved_in_mlflow"]:
        out.print(f"  {BAD} {alias} was moved in MLflow  → [bold]perdure retrain[/] records it")
    tournament(result["tournament"])
    _list("pending", result["pending"], "perdure retrain")
    held = [f"{one['id']}  {'; '.join(one['reasons'])}" for one in result["held"]]
    _list("held", held, "perdure release ID")
    refused = [
        f"{one['file']}, {counted(one['rows'], 'row')}: {one['reason']}"
        for one in result["quarantined"]
    ]
    _list("quarantined", refused)
    _list("in the inbox", result["inbox"], "perdure ingest")
    if result["data_missing"]:
        out.print("  the data is not on this machine yet  → [bold]perdure retrain[/]")
    if result["disk_free_bytes"] < disk.LITTLE_BYTES:
        free = result["disk_free_bytes"] / 1e6
        out.print(f"  {BAD} the disk has {free:.0f} MB free  → free some space")
    if result["running"]:
        parts(running.from_json(result["running"]))


def tournament(entrants: Sequence[Json]) -> None:
    """Who is measured beside the champion on what arrives."""
    for one in entrants:
        role = f"{one['role']}, pinned" if one["pinned"] else one["role"]
        words = f"version [bold]{one['version']}[/]"
        if one["experience"]:
            words += f", refused for {one['experience']}"
        if one["rows"]:
            side = "better" if one["difference"] >= 0 else "worse"
            words += (
                f": {side} by {abs(one['difference']):.3f} a row on {counted(one['rows'], 'row')}, "
                f"evidence {arrival_table.evidence(one['evidence'])} of {one['needed']:.3g} needed"
            )
        else:
            words += ": nothing has arrived since that it had not learned"
        if one["left"] is not None:
            words += f"; tried on {counted(one['left'], 'experience')} more"
        out.print(f"  {role:<11} {words}")


def _list(name: str, items: Sequence[str], command: str | None = None) -> None:
    if not items:
        return
    out.print(f"  {len(items)} {name}" + (f"  → [bold]{command}[/]" if command else ""))
    for item in items[:MANY]:
        out.print(f"    {escape(item)}")
    if len(items) > MANY:
        out.print(f"    … and {len(items) - MANY} more")


def history(events: Sequence[Json]) -> None:
    """What happened."""
    if not events:
        out.print("Nothing has happened yet.")
        return
    shown = table("at (UTC)", "action", ">version", ">replaced", "experience", "by", "reason")
    for event in events:
        shown.add_row(
            event["at"][:19].replace("T", " "),
            event["action"],
            *(str(event[key] or "") for key in ("version", "replaced", "experience")),
            escape(event["by"] or ""),
            escape(event["reason"] or ""),
        )
    out.print(shown)


def shown(result: Json) -> None:
    """One version."""
    aliases = f" ({', '.join(result['aliases'])})" if result["aliases"] else ""
    verdict = result["verdict"] or "not yet judged"
    out.print(f"[bold]Version {result['version']}[/]{aliases}: {verdict}")
    for reason in result["reasons"]:
        out.print(f"  {BAD} {escape(reason)}")
    facts = {
        "experience": result["experience"],
        "parent": result["parent"],
        "strategy": ", ".join(result["strategy"]),
        "learned": counted(len(result["cursor"]), "experience"),
        "weights": result["weights_sha256"],
        "state": result["state_sha256"],
        "data": f"git {result['data']['git']}, dvc {result['data']['dvc']}",
        "code": result["code"],
        "MLflow run": result["run_id"],
        "created": result["created_at"],
    }
    for name, value in facts.items():
        out.print(f"  {name:<11} {'–' if value is None else escape(str(value))}")
    if result["findings"] is not None:
        out.print(verdict_grid(result["findings"]))
    _metrics(result["metrics"])
    before(result["arrival"], result["drift"])
    matrix(result["matrix"])


def before(arrival: Json | None, drift: Json | None) -> None:
    """What the experience showed before anything learned from it."""
    if arrival is not None:
        standings = tuple(Standing(**one) for one in arrival["standings"])
        lists = {key: tuple(arrival[key]) for key in ("let_go", "reasons")}
        record = Arrival(**{**arrival, **lists, "standings": standings})
        out.print(f"Before {record.experience} was learned, those that might serve had on it:")
        out.print(arrival_grid(record))
        out.print(arrival_table.CAPTION, style="dim", soft_wrap=False)
    if drift is not None:
        found = Drift.from_json(drift)
        out.print(
            f"Drift, from what the champion had learned: {escape(drift_table.summary(found))}"
        )
        out.print(drift_grid(found))


def _metrics(metrics: Json) -> None:
    candidate, champion = metrics["candidate"], metrics["champion"]
    columns = {
        "average": candidate["average"],
        "new": candidate["new"],
        "earlier": candidate["past"],
        "champion's average": champion["average"] if champion else None,
        "before learning": metrics["prequential"],
    }
    present = {name: values for name, values in columns.items() if values}
    grid = table("metric", *(f">{name}" for name in present))
    for name in candidate["average"]:
        grid.add_row(name, *(number(values[name]) for values in present.values()))
    out.print(grid)


def matrix(value: Json) -> None:
    """The accuracy matrix: its latest experiences."""
    names = value["experiences"][-WIDE:]
    first = len(value["experiences"]) - len(names)
    columns = (f">{name[:6]}" for name in names)
    grid = table("after ↓  on →", *columns, title=f"{value['metric']}, matrix")
    for name, row in zip(names, value["values"][first:], strict=True):
        cells = ("" if cell is None else number(cell) for cell in row[first:])
        grid.add_row(name, *cells)
    out.print(grid)
