"""What stands: status, history, and single versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from perdure import arrival_table, disk, drift_table, running
from perdure.cli.console import command, escape, out
from perdure.cli.render.service import parts
from perdure.cli.render.words import (
    BAD,
    arrival_grid,
    arrow,
    counted,
    drift_grid,
    measured,
    rows_counted,
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
    retrain = f"[bold]{escape(command('perdure retrain'))}[/]"
    counts = f"{counted(result['experiences'], 'experience')}, {counted(result['rows'], 'row')}"
    out.print(f"[bold]{escape(result['model'])}[/]: {counts}")
    champion, challenger = result["champion"], result["challenger"]
    if champion is None:
        out.print(f"  {'champion':<11} none: nothing serves yet{_what_to_do(result)}")
    else:
        _alias("champion", champion)
        _newest(result["latest"])
        _digests(champion)
    if challenger is None:
        out.print(f"  {'challenger':<11} none")
    elif champion is not None and challenger["version"] == champion["version"]:
        out.print(f"  {'challenger':<11} the same version")
    else:
        _alias("challenger", challenger)
        _digests(challenger)
    for alias in result["moved_in_mlflow"]:
        out.print(f"  {BAD} {alias} was moved in MLflow  → {retrain} records it")
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
    _waiting_files(result)
    if result["data_missing"]:
        out.print(f"  the data is not on this machine yet  → {retrain}")
    if result["disk_free_bytes"] < disk.LITTLE_BYTES:
        free = result["disk_free_bytes"] / 1e6
        out.print(f"  {BAD} the disk has {free:.0f} MB free  → free some space")
    if result["running"]:
        parts(running.from_json(result["running"]))


def _alias(name: str, one: Json) -> None:
    """What an alias stands on, and how good that is."""
    words, score = f"version [bold]{one['version']}[/]", one["score"]
    if score is not None:
        metric = score["metric"]
        words += (
            f", {metric} {arrow(metric)} [bold]{measured(metric, score['value'])}[/] on "
            f"{counted(score['rows'], 'test row')}"
        )
        if score["baseline"] is not None:
            words += f" (a constant prediction: {measured(metric, score['baseline'])})"
    out.print(f"  {name:<11} {words}")


def _newest(latest: Json | None) -> None:
    """How the champion of then did on the newest file, before anything learned from it."""
    if latest is None or latest["value"] is None:
        return
    metric = latest["metric"]
    out.print(
        f"  {'':<11} {metric} {arrow(metric)} {measured(metric, latest['value'])} on "
        f"{latest['experience']}, {counted(latest['rows'], 'row')}, when it arrived "
        f"(version {latest['version']} served)"
    )


def _digests(one: Json) -> None:
    out.print(
        f"  {'':<11} since {one['promoted_at'][:19]}Z, "
        f"learned {counted(len(one['cursor']), 'experience')}, "
        f"weights {one['weights_sha256'][:8]}, state {one['state_sha256'][:8]}"
    )


def _what_to_do(result: Json) -> str:
    """The next command where nothing serves."""
    if result["challenger"] is not None:
        return f"  → [bold]{escape(command('perdure promote'))}[/]"
    if result["held"] and not result["pending"]:
        return (
            f"  → [bold]{escape(command('perdure history'))}[/] has what was refused; "
            f"[bold]{escape(command('perdure promote VERSION --force --reason TEXT'))}[/]"
        )
    if not result["experiences"]:
        return f"  → [bold]{escape(command('perdure ingest FILE'))}[/]"
    return ""  # what is pending or in the inbox has its own line


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


def _list(name: str, items: Sequence[str], following: str | None = None) -> None:
    if not items:
        return
    hint = f"  → [bold]{escape(command(following))}[/]" if following else ""
    out.print(f"  {len(items)} {name}{hint}")
    for item in items[:MANY]:
        out.print(f"    {escape(item)}")
    if len(items) > MANY:
        out.print(f"    … and {len(items) - MANY} more")


def _waiting_files(result: Json) -> None:
    """Small files that wait for more rows."""
    found = result["waiting_files"]
    if not found:
        return
    rows, since = sum(one["rows"] for one in found), min(one["since"] for one in found)
    names = [
        f"{one['file']}, {counted(one['rows'], 'row')}"
        + ("" if one["joins"] else ": does not join as perdure.toml and schema.toml are now")
        for one in found
    ]
    wait = "small file waits" if len(found) == 1 else "small files wait"
    _list(
        f"{wait} since {since[:10]}, with {counted(rows, 'row')}; "
        f"{result['min_rows']} make an experience",
        names,
    )


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
    experience = result["experience"]
    if result["rows"] is not None:
        experience += f", {rows_counted(result['rows'], result['distinct_rows'])}"
    files = [f"{one['file']} ({counted(one['rows'], 'row')})" for one in result["files"]]
    facts = {
        "experience": experience,
        **({"of": ", ".join(files)} if len(files) > 1 else {}),
        "parent": result["parent"],
        "strategy": ", ".join(result["strategy"]),
        **({"processes": result["processes"]} if result["processes"] > 1 else {}),
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
        standings = tuple(Standing(**one) for one in arrival.get("standings", ()))
        lists = {key: tuple(arrival.get(key, ())) for key in ("let_go", "reasons")}
        record = Arrival(**{**arrival, **lists, "standings": standings})
        out.print(
            f"Before {escape(record.experience)} was learned, those that might serve had on it:"
        )
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
        cells = (measured(name, values.get(name)) for values in present.values())
        grid.add_row(f"{escape(name)} {arrow(name)}", *cells)
    out.print(grid)


def matrix(value: Json) -> None:
    """The accuracy matrix: its latest experiences."""
    metric, names = value["metric"], value["experiences"][-WIDE:]
    first = len(value["experiences"]) - len(names)
    columns = (f">{escape(name[:6])}" for name in names)
    grid = table("after ↓  on →", *columns, title=f"{escape(metric)} {arrow(metric)}, matrix")
    for name, row in zip(names, value["values"][first:], strict=True):
        cells = ("" if cell is None else measured(metric, cell) for cell in row[first:])
        grid.add_row(escape(name), *cells)
    out.print(grid)
