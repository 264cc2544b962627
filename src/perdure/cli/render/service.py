"""What runs, and what it has written."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.cli.console import escape, out
from perdure.cli.render.words import GOOD, counted, table
from perdure.records import Deployed
from perdure.running import Running, Written


def running(now: Running) -> None:
    """What runs, and where it answers."""
    out.print(f"{GOOD} Everything runs, as process [bold]{now.pid}[/].")
    addresses(now)
    waits(now)
    out.print(
        "  Next: put files into the inbox; [bold]perdure status[/] shows what becomes of them"
    )
    out.print("  Look at the pages: [bold]perdure open prefect[/], [bold]perdure open mlflow[/]")
    out.print("  End it: [bold]perdure down[/]")


def addresses(now: Running) -> None:
    """Where people look."""
    out.print(f"  Prefect     {escape(now.prefect_page or now.prefect_api)}", soft_wrap=True)
    out.print(f"  MLflow      {escape(now.mlflow)}", soft_wrap=True)


def parts(now: Running) -> None:
    """What runs, part by part."""
    out.print(f"  {now.state}, process {now.pid} on {escape(now.host)}, since {now.started[:19]}Z")
    addresses(now)
    shown = table("part", "state", ">process", ">started again")
    for part in now.parts:
        shown.add_row(part.name, part.state, str(part.pid or "–"), str(part.restarts))
    out.print(shown)
    waits(now)


def waits(now: Running) -> None:
    """What a part lacks to do its work."""
    for part in now.parts:
        if part.waits:
            out.print(f"  [yellow]{part.name}[/] waits: {escape(part.waits)}", soft_wrap=True)


def ended(now: Running | None) -> None:
    """What was ended."""
    if now is None:
        out.print("Nothing of perdure up runs here.")
        return
    out.print(f"{GOOD} Ended: process {now.pid} with {counted(len(now.parts), 'part')}.")


def logs(found: Sequence[Written]) -> None:
    """The last lines of each part."""
    if not found:
        out.print("Nothing has been written yet.")
    for one in found:
        if len(found) > 1:
            out.print(f"[bold]{escape(one.part)}[/]  {escape(one.path)}")
        for line in one.lines:
            out.print(line, markup=False)


def log_line(part: str, line: str, *, alone: bool) -> None:
    """A line as it is written."""
    out.print(line if alone else f"{part:<10} {line}", markup=False)


def deployed(result: Deployed) -> None:
    """What stands in Prefect now, and where to look."""
    shown = table("deployment", "pool", "when", "state")
    for flow in result.flows:
        state = f"{flow.change}, paused" if flow.paused else flow.change
        shown.add_row(flow.name, flow.pool, escape(flow.schedule or "–"), state)
    for one in result.automations:
        state = f"{one.change}, paused" if one.paused else one.change
        shown.add_row(escape(one.name), "–", "automation", state)
    out.print(shown)
    out.print(f"Prefect: {escape(result.api)}", soft_wrap=True)
    page = next((flow.page for flow in result.flows if flow.name.startswith("retrain/")), None)
    if page:
        out.print(f"Look, or start one, at {escape(page)}", soft_wrap=True)
