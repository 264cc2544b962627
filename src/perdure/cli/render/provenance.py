"""Where a version comes from, for people."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from itertools import groupby

from perdure.cli.console import command, escape, out
from perdure.cli.render.words import BAD, GOOD, NOTED, counted, verdict_grid
from perdure.records.provenance import (
    Reproduced,
    ServedThen,
    Traced,
    TracedExperience,
    TracedVersion,
    Verified,
)


def traced(result: Traced) -> None:
    """`perdure trace`."""
    name = escape(result.asked)
    if result.kind == "version":
        [version] = result.versions
        out.print(f"[bold]Version {version.version}[/]{_aliases(version)} learned from:")
        for one in result.experiences:
            _experience(one)
        _serves(result)
        return
    out.print(f"[bold]{name}[/]")
    for one in result.experiences:
        _experience(one)
        learned = _ranges(one.versions)
        out.print(f"    learned by {learned}" if learned else "    no version learned from it")
    for refused in result.refused:
        rows = counted(refused.rows, "row")
        out.print(f"  {BAD} {rows} refused at {_local(refused.at)}: {escape(refused.reason)}")
        if refused.folder:
            out.print(f"    {escape(refused.folder)}")
    for waits in result.waiting:
        what = (
            "in the inbox, not read yet"
            if waits.rows is None
            else f"{counted(waits.rows, 'row')} wait for more since {_local(waits.since or '')}"
        )
        out.print(f"  {NOTED} {what}")
    if not result.versions:
        out.print("Nothing has learned from it.")
        return
    _serves(result)


def _experience(one: TracedExperience) -> None:
    rows = "" if one.rows is None else f", {counted(one.rows, 'row')}"
    files = ", ".join(f"{escape(f.file)} ({counted(f.rows, 'row')})" for f in one.files)
    of = f" of {files}" if files else ", not on this machine"
    reasons = f": {escape('; '.join(one.reasons))}" if one.reasons else ""
    colour = "yellow" if one.state in ("held", "quarantined") else "default"
    out.print(f"  {one.id}{rows}{of}: [{colour}]{one.state}[/]{reasons}")


def _serves(result: Traced) -> None:
    """Which of the versions have an alias now."""
    standing = [one for one in result.versions if one.aliases]
    if not standing:
        out.print("None of these versions serves or takes part now.")
    for one in standing:
        out.print(f"Now {' and '.join(one.aliases)}: version [bold]{one.version}[/]")
    serves = any("champion" in one.aliases for one in standing)
    if standing and not serves and result.kind != "version":
        out.print("What serves has not learned from it.")


def _aliases(version: TracedVersion) -> str:
    return f" ({', '.join(version.aliases)})" if version.aliases else ""


def _ranges(numbers: Iterable[int]) -> str:
    """`version 3`, or `versions 3 to 7, 9`; empty: there is none."""
    found = sorted(numbers)
    parts: list[str] = []
    for _, group in groupby(enumerate(found), lambda pair: pair[1] - pair[0]):
        run = [number for _, number in group]
        parts += map(str, run) if len(run) < 3 else [f"{run[0]} to {run[-1]}"]
    return f"version{'s' if len(found) > 1 else ''} {', '.join(parts)}" if parts else ""


def served(result: ServedThen) -> None:
    """`perdure history --at`."""
    if result.version is None:
        out.print(f"At {_local(result.at)} nothing served: {escape(result.reason or '')}")
        return
    until = f"until {_local(result.until)}" if result.until else "and it serves still"
    out.print(
        f"At {_local(result.at)} [bold]version {result.version}[/] served, "
        f"since {_local(result.since)}, {until}."
    )
    by = f" by {escape(result.by)}" if result.by else ""
    reason = f": {escape(result.reason)}" if result.reason else ""
    out.print(f"  {result.action}{by}{reason}")
    if result.experience:
        out.print(f"  it had learned {result.experience} last")
    if not result.registered:
        out.print(f"  {NOTED} it is no longer in the registry: what the gates said is gone with it")
    elif result.verdict is None:
        out.print("  the gates have not judged it, or an older Perdure registered it")
    else:
        mark = GOOD if result.verdict.answer == "passed" else NOTED
        out.print(f"  {mark} the gates: {result.verdict.answer}")
        out.print(verdict_grid(result.verdict))
    if result.moved_in_mlflow:
        retrain = escape(command("perdure retrain"))
        out.print(
            f"  {NOTED} champion was moved in MLflow since; when is not recorded yet  → "
            f"[bold]{retrain}[/] records it"
        )


def verified(result: Verified) -> None:
    """`perdure verify`: one line for each check."""
    for check in result.checks:
        mend = f"  → [bold]{escape(command(check.mend))}[/]" if check.mend else ""
        out.print(f"{GOOD if check.ok else BAD} {check.name:<9} {escape(check.detail)}{mend}")
    number = result.version
    if result.ok:
        out.print(f"Version [bold]{number}[/] is what was registered.")
    else:
        out.print(f"Version [bold]{number}[/] is not what it should be.")


def reproduced(result: Reproduced) -> None:
    """`perdure reproduce`."""
    number = result.version
    if result.outcome == "same":
        out.print(
            f"{GOOD} Version [bold]{number}[/] was trained again, with the configuration "
            f"{result.configuration}: weights {(result.weights_sha256 or '')[:8]} and state "
            f"{(result.state_sha256 or '')[:8]} are the same, bit for bit."
        )
    elif result.outcome == "other":
        out.print(
            f"{BAD} Version [bold]{number}[/] was trained again, with the configuration "
            f"{result.configuration}, and other weights or another state came out."
        )
    else:
        out.print(f"{BAD} Version [bold]{number}[/] cannot be trained again.")
    for reason in result.reasons:
        out.print(f"  {escape(reason)}")
    if result.outcome != "same":
        return
    for one in result.machine:
        if one.then is not None and one.then != one.now:
            out.print(f"  although the {one.name} is {escape(one.now)}, then {escape(one.then)}")


def _local(at: str) -> str:
    """A time as this machine's clock shows it, with its zone."""
    return datetime.fromisoformat(at).astimezone().isoformat(sep=" ", timespec="seconds")
