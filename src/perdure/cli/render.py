"""Results for a person: tables and sentences on stdout, with the next command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from perdure.cli.console import out
from perdure.records import (
    Evaluated,
    Ingest,
    Ingested,
    Initialised,
    Learned,
    Metrics,
    Promoted,
    Retrained,
    RolledBack,
    SetAside,
)

Json = Mapping[str, Any]


def table(*columns: str, title: str | None = None) -> Table:
    """A table in the one look that all of Perdure's have; numbers are marked with `>`."""
    result = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for column in columns:
        right = column.startswith(">")
        result.add_column(column.removeprefix(">"), justify="right" if right else "left", overflow="fold")
    return result


def number(value: float | None) -> str:
    """Three decimals, or a dash."""
    return "–" if value is None or value != value else f"{value:.3f}"


def initialised(result: Initialised) -> None:
    """A new workspace."""
    out.print(
        f"[bold]{escape(result.workspace)}[/] is a workspace for the model [bold]{escape(result.model)}[/] "
        f"({result.task})."
    )
    file_line(result.first)
    out.print("Next: look at perdure.toml and schema.toml, then [bold]perdure retrain[/]")


def ingested(result: Ingest) -> None:
    """What became of files."""
    if not result.files:
        out.print("The inbox is empty: nothing to ingest.")
        return
    for one in result.files:
        file_line(one)
    if any(one.outcome == "ingested" for one in result.files):
        out.print("Next: [bold]perdure retrain[/]")


def file_line(one: Ingested) -> None:
    """What became of one file."""
    name = escape(one.file)
    if one.outcome == "ingested":
        out.print(f"[green]✓[/] {name}: experience [bold]{one.experience}[/], {one.rows} rows")
    elif one.outcome == "known":
        out.print(f"· {name}: its content is here already, as {one.experience or one.folder}; skipped")
    else:
        out.print(f"[red]✗[/] {name}: quarantined, nothing of it will be learned")
    if one.refused_rows:
        out.print(f"  {one.refused_rows} rows quarantined")
    for reason in one.reasons[:5]:
        out.print(f"  {escape(reason)}")
    if len(one.reasons) > 5:
        out.print(f"  … and {len(one.reasons) - 5} more")
    if one.folder and one.outcome != "known":
        out.print(f"  reasons, row by row: {escape(one.folder)}/reasons.csv")


def retrained(result: Retrained) -> None:
    """What a retraining did."""
    if not result.learned:
        out.print("Nothing is pending: every experience is learned or held.")
    else:
        shown = table("experience", ">version", "verdict", ">before", ">average", ">forgetting")
        for one in result.learned:
            shown.add_row(
                one.experience,
                str(one.version or "–"),
                verdict_word(one),
                number(_main(one.prequential)),
                number(_main(one.average)),
                number(one.forgetting),
            )
        out.print(shown)
        for one in result.learned:
            for reason in one.reasons:
                out.print(f"[red]✗[/] {one.experience}: {escape(reason)}")
    out.print(f"Champion: version {result.champion or 'none'}.", end=" ")
    if result.challenger != result.champion:
        out.print(
            f"Challenger: version {result.challenger}. Next: [bold]perdure promote {result.challenger}[/]"
        )
    elif any(one.verdict == "refused" for one in result.learned):
        out.print("Held experiences stay out until [bold]perdure release ID[/].")
    else:
        out.print("")


def verdict_word(one: Learned) -> str:
    """The verdict in one coloured word."""
    if one.verdict == "refused":
        return "[red]refused, held[/]"
    return "[green]promoted[/]" if one.promoted else "[green]passed[/]"


def _main(metrics: Metrics | None) -> float | None:
    if not metrics:
        return None
    return metrics.get("accuracy", metrics.get("r2"))


def promoted(result: Promoted) -> None:
    """A promotion by hand."""
    if not result.changed:
        out.print(f"Version {result.version} is the champion already.")
        return
    how = " against the gates" if result.forced else ""
    out.print(f"[green]✓[/] Version [bold]{result.version}[/] is the champion{how}; before: {result.replaced or 'none'}.")
    out.print("Take it back: [bold]perdure rollback[/]")


def rolled_back(result: RolledBack) -> None:
    """A rollback."""
    if not result.changed:
        out.print(f"Version {result.version} is champion and challenger already.")
        return
    out.print(
        f"[green]✓[/] Version [bold]{result.version}[/] is champion again, instead of {result.replaced}: "
        "weights, memory and place in the data."
    )
    if result.held:
        out.print(f"  held, for only the abandoned versions had learned them: {', '.join(result.held)}")
        out.print("  free them with [bold]perdure release ID[/]")


def released(result: SetAside) -> None:
    """Experiences pending again."""
    out.print(f"[green]✓[/] pending again: {', '.join(result.experiences)}")
    out.print("Next: [bold]perdure retrain[/]")


def quarantined(result: SetAside) -> None:
    """Experiences set aside."""
    out.print(f"[green]✓[/] in quarantine: {', '.join(result.experiences)}")


def evaluated(result: Evaluated) -> None:
    """A version beside the champion."""
    champion = result.champion_metrics
    shown = table("metric", f">version {result.version}", f">champion {result.champion or ''}")
    for name, value in result.metrics.average.items():
        shown.add_row(name, number(value), number(champion.average[name] if champion else None))
    out.print(shown)
    out.print(f"Averages over {len(result.metrics.by_experience)} experiences, {result.rows} test rows.")
    for reason in result.verdict.reasons:
        out.print(f"{'[green]✓[/]' if reason.passed else '[red]✗[/]'} {escape(reason.message)}")


def status(result: Json) -> None:
    """The state of a workspace."""
    out.print(f"[bold]{escape(result['model'])}[/]: {result['experiences']} experiences, {result['rows']} rows")
    for alias in ("champion", "challenger"):
        one = result[alias]
        if one is None:
            out.print(f"  {alias:<11} none")
        else:
            out.print(
                f"  {alias:<11} version [bold]{one['version']}[/], since {one['promoted_at']}, "
                f"learned {len(one['cursor'])}, weights {one['weights_sha256'][:8]}, "
                f"state {one['state_sha256'][:8]}"
            )
    _list("pending", result["pending"], "perdure retrain")
    _list("held", [f"{one['id']}  {'; '.join(one['reasons'])}" for one in result["held"]], "perdure release ID")
    _list("quarantined", [f"{one['file']}  {one['reason']}" for one in result["quarantined"]])
    _list("in the inbox", result["inbox"], "perdure ingest")


def _list(name: str, items: Sequence[str], command: str | None = None) -> None:
    if not items:
        return
    out.print(f"  {len(items)} {name}" + (f"  → {command}" if command else ""))
    for item in items[:10]:
        out.print(f"    {escape(item)}")
    if len(items) > 10:
        out.print(f"    … and {len(items) - 10} more")


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
    out.print(f"[bold]Version {result['version']}[/]{aliases}: {result['verdict'] or 'not yet judged'}")
    for reason in result["reasons"]:
        out.print(f"  [red]✗[/] {escape(reason)}")
    for key in ("experience", "parent", "weights_sha256", "state_sha256", "code", "run_id", "created_at"):
        out.print(f"  {key:<15} {result[key] if result[key] is not None else '–'}")
    out.print(f"  {'strategy':<15} {', '.join(result['strategy'])}")
    out.print(f"  {'data':<15} git {result['data']['git']}, dvc {result['data']['dvc']}")
    out.print(f"  {'learned':<15} {len(result['cursor'])} experiences, {result['cursor'][0]} … {result['cursor'][-1]}")
    metrics = result["metrics"]
    columns = {
        "average": metrics["candidate"]["average"],
        "new": metrics["candidate"]["new"],
        "earlier": metrics["candidate"]["past"],
        "champion's average": metrics["champion"] and metrics["champion"]["average"],
        "before learning": metrics["prequential"],
    }
    present = {name: values for name, values in columns.items() if values}
    grid = table("metric", *(f">{name}" for name in present))
    for name in metrics["candidate"]["average"]:
        grid.add_row(name, *(number(values[name]) for values in present.values()))
    out.print(grid)
    matrix(result["matrix"])


def matrix(value: Json) -> None:
    """The accuracy matrix, its latest twelve experiences."""
    names = value["experiences"][-12:]
    first = len(value["experiences"]) - len(names)
    grid = table("after ↓  on →", *(f">{name[:6]}" for name in names), title=f"{value['metric']}, matrix")
    for name, row in zip(names, value["values"][first:], strict=True):
        grid.add_row(name, *(number(cell) if cell is not None else "" for cell in row[first:]))
    out.print(grid)


def examined(checks: Sequence[Any]) -> None:
    """The doctor's findings, one line each."""
    for check in checks:
        mark = "[green]✓[/]" if check.ok else "[red]✗[/]"
        mend = f"  → [bold]{escape(check.mend)}[/]" if check.mend and not check.ok else ""
        out.print(f"{mark} {check.name:<10} {escape(check.detail)}{mend}")

