"""Backups, what was made of them, and versions that are removed, for people."""

from __future__ import annotations

from perdure.cli import console
from perdure.cli.console import escape
from perdure.cli.render.words import counted, table
from perdure.records.removal import Pruned
from perdure.records.safekeeping import BackedUp, Migrated, Restored


def backed_up(result: BackedUp) -> None:
    """`perdure backup`."""
    say = console.out.print
    say(f"Backed up to [bold]{escape(result.path)}[/]")
    say(
        f"{result.files} files, {_size(result.size)}; {_size(result.copied)} of it copied, "
        "the rest is that of the backup before."
        if result.copied < result.size
        else f"{result.files} files, {_size(result.size)}."
    )
    say(_model(result.versions, result.champion))
    for name in result.left_out:
        say(f"Left out: {escape(name)}", style="yellow")
    _lacks(result.lacks)
    for name in result.removed:
        say(f"Removed {escape(name)}", style="dim")


def restored(result: Restored) -> None:
    """`perdure restore`."""
    say = console.out.print
    say(f"[bold]{escape(result.path)}[/] is the model {escape(result.model)} as of {result.at}")
    say(f"{_model(result.versions, result.champion)} {result.experiences} experiences.")
    _lacks(result.lacks)
    say(f"→ perdure status --workspace {escape(result.path)}", style="dim")


def migrated(result: Migrated) -> None:
    """`perdure migrate`."""
    say = console.out.print
    what = (
        f"{counted(result.versions, 'version')} ({_size(result.size)}), "
        f"{counted(result.runs, 'run')} and {counted(result.events, 'event')} of the history"
    )
    say(f"From {escape(result.source)}", soft_wrap=True)
    say(f"To   {escape(result.target)}", soft_wrap=True)
    if result.goes_on:
        say("An earlier call was cut short; this one continues its copy.", style="yellow")
    if not result.done:
        say(f"{what} would be copied; nothing was changed.")
        say("To do it: the same command with [bold]--yes[/]")
        return
    say(f"Copied and compared: {what}. {_champion(result.champion)}")
    say("The workspace still uses the old registry. To use the new one:")
    if result.setting is None:
        say("  take uri out of \\[tracking] in perdure.toml")
    else:
        say(f"  \\[tracking]\n  {escape(result.setting)}", soft_wrap=True)
        say("  in perdure.toml")
    say(f"→ then {escape(console.command('perdure verify'))}", style="dim")


def pruned(result: Pruned) -> None:
    """`perdure prune`."""
    say = console.out.print
    count = f"{counted(len(result.goes), 'version')}, {_size(result.size)}"
    if result.goes:
        grid = table(">version", "experience", "registered", ">size", "why it goes")
        for one in result.goes:
            words = (one.experience, one.created_at[:10], _size(one.size or 0), one.reason)
            grid.add_row(str(one.version), *map(escape, words))
        say(grid)
    if result.stays:
        grid = table(">version", "experience", "registered", "why it stays")
        for one in result.stays:
            cells = (one.experience, one.created_at[:10], one.reason)
            grid.add_row(str(one.version), *map(escape, cells))
        say(grid)
    for what in result.left:
        say(f"Not removed: {escape(what)}", style="yellow")
    if result.removed:
        say(f"Removed {count}." if result.goes else "Nothing was removed.")
    elif result.goes:
        say(f"{count} would go; nothing was changed.")
        say(f"→ {escape(console.command('perdure prune --yes'))} removes them", style="dim")
    else:
        say("Nothing would go.")


def _model(versions: int, champion: int | None) -> str:
    return f"{versions} versions; {_champion(champion).lower()}"


def _champion(champion: int | None) -> str:
    return "No champion." if champion is None else f"Version {champion} is the champion."


def _lacks(lacks: tuple[str, ...]) -> None:
    for what in lacks:
        console.out.print(f"Not in it: {escape(what)}", style="yellow")


def _size(count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
