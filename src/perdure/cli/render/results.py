"""What the commands that change something did."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from perdure import arrival_table, drift_table, verdict_table
from perdure.cli.console import command, escape, escape_lines, out
from perdure.cli.render.words import (
    BAD,
    GOOD,
    MARKS,
    NOTED,
    arrow,
    counted,
    direction,
    learned_grid,
    measured,
    of,
    rows_counted,
    table,
    verdict_grid,
    verdict_word,
)
from perdure.records import (
    Check,
    ColumnFound,
    Evaluated,
    Ingest,
    Ingested,
    Initialised,
    Learned,
    Pinned,
    Promoted,
    Retrained,
    RolledBack,
    SetAside,
)

FEW = 5
"""So many reasons are shown; all of them stand in a file."""


def initialised(result: Initialised) -> None:
    """A new workspace."""
    place, model = escape(result.workspace), escape(result.model)
    out.print(f"[bold]{place}[/] is a workspace for the model [bold]{model}[/] ({result.task}).")
    columns_found(result.columns)
    for note in result.notes:
        out.print(f"  {escape(note)}")
    file_line(result.first)
    if result.first.outcome == "waiting":
        out.print("Next: [bold]perdure ingest FILE[/] with more rows, for the first experience")
        return
    out.print(f"Next: look at perdure.toml and schema.toml, then {_bold('perdure retrain')}")


KINDS = (("number", "numbers"), ("category", "words"), ("time", "dates and times"))


def columns_found(columns: Sequence[ColumnFound]) -> None:
    """What is learned from, by kind, and what is left out, each with the reason."""
    learned = [one for one in columns if one.learned]
    known = {kind for kind, _ in KINDS}
    groups = [
        f"[bold]{plural}[/]: " + ", ".join(map(_column, of))
        for kind, plural in KINDS
        if (of := [one for one in learned if one.kind == kind])
    ]
    groups += [f"[bold]{one.kind}[/]: {_column(one)}" for one in learned if one.kind not in known]
    if groups:
        out.print("Learns from " + "; ".join(groups))
    for one in columns:
        if not one.learned:
            sample = "" if one.sample is None else f" such as {escape(repr(one.sample))}"
            hint = f"; [bold]{escape(one.hint)}[/] reads it" if one.hint else ""
            why = escape(one.detail)
            out.print(f"Leaves out [bold]{escape(one.name)}[/]{sample}: {why}{hint}")


def _column(one: ColumnFound) -> str:
    return escape(one.name) + (f" ({escape(one.detail)})" if one.detail else "")


def ingested(result: Ingest) -> None:
    """What became of files."""
    if not result.files:
        out.print("The inbox is empty: nothing to ingest.")
        return
    for one in result.files:
        if one.outcome != "joined" or one.refused_rows or one.notes:  # the experience names it
            file_line(one)
    if result.hint:
        out.print(f"Hint: {escape(result.hint)}")
    if any(one.outcome == "ingested" for one in result.files):
        out.print(f"Next: {_bold('perdure retrain')}")


def file_line(one: Ingested, indent: str = "") -> None:
    """What became of one file."""
    name = escape(one.file)
    if one.outcome == "ingested":
        rows = rows_counted(one.rows, one.distinct_rows)
        out.print(f"{indent}{GOOD} {name}: experience [bold]{one.experience}[/], {rows}")
    elif one.outcome == "joined":
        out.print(f"{indent}{GOOD} {name}: joined, in experience [bold]{one.experience}[/]")
    elif one.outcome == "waiting":
        out.print(f"{indent}· {name}: waits for more rows")
    elif one.outcome == "known":
        place = f"as {one.experience}" if one.experience else "and waits for more rows"
        out.print(f"{indent}· {name}: its content is here already, {place}; skipped")
    else:
        out.print(f"{indent}{BAD} {name}: refused, and put into quarantine whole")
    if one.refused_rows and one.outcome != "quarantined":
        share = f"{one.refused_share:.0%}" if one.refused_share >= 0.01 else "less than 1%"
        refused = f"{counted(one.refused_rows, 'row')} ({share} of the file)"
        out.print(f"{indent}  {refused} refused, and put into quarantine")
    for note in one.notes:
        out.print(f"{indent}  {escape(note)}")
    for reason in one.reasons[:FEW]:
        out.print(f"{indent}  {escape(reason)}")
    if len(one.reasons) > FEW:
        out.print(f"{indent}  … and {len(one.reasons) - FEW} more")
    if one.folder:
        out.print(f"{indent}  all reasons: {escape(one.folder)}/reasons.csv")


def retrained(result: Retrained) -> None:
    """What a retraining did."""
    if not result.learned:
        out.print("Nothing is pending: every experience is learned or held.")
    else:
        metric = result.metric
        shown = learned_grid(metric)
        for one in result.learned:
            shown.add_row(
                one.experience,
                str(_moved_to(one) or one.version or "–"),
                verdict_word(one),
                measured(metric, of(one.prequential, metric)),
                measured(metric, of(one.average, metric)),
                "–" if one.rows is None else f"{one.rows:,}",
                measured(metric, one.forgetting),
            )
        out.print(shown)
        out.print(
            f"{metric}: {direction(metric)}. before: the champion on all rows that arrived, before "
            "anything learned from them; average: over all experiences, on their test rows.",
            style="dim",
            soft_wrap=False,
        )
        for one in result.learned:
            learned(one)
    out.print(f"Champion: {_version(result.champion)}. Challenger: {_version(result.challenger)}.")
    if result.challenger is not None and result.challenger != result.champion:
        out.print(f"Next: {_bold(f'perdure promote {result.challenger}')}")
    if result.profile:
        out.print(f"Profile: {escape(result.profile)}", soft_wrap=True)
    _ways_out(result)


def _ways_out(result: Retrained) -> None:
    """What a person can do about what was refused or held."""
    kept = [one for one in result.learned if one.kept_back]
    if not kept:
        return
    refused = [one for one in kept if one.version is not None]
    again = f"{_bold(_release(kept))} and {_bold('perdure retrain')}"
    if refused and result.champion is None and result.challenger is None:
        out.print("[bold]Nothing serves yet[/], as no version has passed the gates. What helps:")
        out.print(f"  more rows: {_bold('perdure ingest FILE')}, then {_bold('perdure retrain')}")
        out.print(f"  in perdure.toml {escape(_settings(result))}; then {again}")
    elif keys := dict.fromkeys(key for one in refused for key in one.settings):
        names = " and ".join(keys)
        out.print(rf"To let through what was refused, change \[gates] {names}; then {again}")
    else:
        out.print(f"What is held stays out of training; to learn it: {again}")
    if refused:
        *others, last = (one.version for one in refused)
        way = _bold(f"perdure promote {last} --force --reason TEXT")
        also = f" (or {', '.join(map(str, others))})" if others else ""
        indent = "  " if result.champion is None else ""
        out.print(f"{indent}To let version {last}{also} serve as it is: {way}")


def _settings(result: Retrained) -> str:
    """What may be changed where the first version was refused; by what refused it, and the task."""
    from perdure.config import metrics_of  # pydantic takes longer to import than --help

    found, known = [], metrics_of("regression")
    if result.metric not in known:
        found, known = ['training.class_weights = "balanced"'], metrics_of("classification")
    others = [name for name in known if name != result.metric]
    found.append(f"evaluation.metric ({', '.join(others)})")
    keys = dict.fromkeys(key for one in result.learned for key in one.settings)
    found += [f"[gates] {key}" for key in keys]
    return " or ".join([", ".join(found[:-1]), found[-1]])


def _release(kept: Sequence[Learned]) -> str:
    """The command that releases what is held; what a rollback holds has no entry of its own."""
    own = all(one.verdict != "postponed" for one in kept)
    return f"perdure release {' '.join(one.experience for one in kept) if own else 'ID'}"


def _bold(text: str) -> str:
    """Commands that a person can copy, as they work in this folder."""
    return f"[bold]{escape(command(text))}[/]"


def learned(one: Learned, indent: str = "") -> None:
    """What became of one experience, in a sentence where it is more than a promotion."""
    for mark, words in _sentences(one):
        out.print(f"{indent}{mark} {one.experience}: {escape(words)}")


def _sentences(one: Learned) -> Iterator[tuple[str, str]]:
    shown = one.arrival
    if shown is not None and shown.action == "promoted":
        yield (
            GOOD,
            f"version {shown.version}, refused before, is better than the champion "
            f"({arrival_table.proof(shown)}): it serves now, and training goes on from it",
        )
    elif shown is not None and shown.action == "rolled back":
        yield (
            NOTED,
            f"version {shown.version} is better than the champion, version {shown.champion} "
            f"({arrival_table.proof(shown)}): the model went back to it by itself",
        )
    elif one.version is None:  # broken, or it cannot be learned at all
        reason = "; ".join(one.reasons).removeprefix("broken: ")
        broken = shown is not None and shown.action == "held"
        yield BAD, f"{'broken, and ' if broken else ''}held before it was learned: {reason}"
    else:
        for reason in one.reasons:
            yield BAD, reason
    if one.contender:
        yield (
            NOTED,
            f"version {one.version} is tried on what arrives next, and takes the champion's place "
            "once it is shown to be better",
        )
    elif one.version is not None and one.reasons and one.verdict != "postponed":
        yield NOTED, f"version {one.version} is not tried on what arrives next"
    if shown is not None and one.verdict != "postponed":
        for version, why in zip(shown.let_go, shown.reasons, strict=True):
            yield NOTED, f"version {version} is tried no longer: {why}"
    if one.drift is not None and one.drift.level == "drifting" and one.verdict != "postponed":
        yield NOTED, drift_table.summary(one.drift)


def _moved_to(one: Learned) -> int | None:
    return one.arrival.version if one.verdict == "postponed" and one.arrival else None


def promoted(result: Promoted, indent: str = "") -> None:
    """A promotion by hand."""
    if not result.changed:
        out.print(f"{indent}Version {result.version} is the champion already.")
        return
    how = " against the gates" if result.forced else ""
    out.print(f"{indent}{GOOD} Version [bold]{result.version}[/] is the champion{how}.")
    if result.replaced is None:
        out.print(f"{indent}  It is the first that serves.")
    else:
        back = _bold("perdure rollback")
        out.print(f"{indent}  It replaced {_version(result.replaced)}; take it back: {back}")


def serving(uri: str, model: str) -> None:
    """How MLflow serves the champion, from any folder."""
    tracking, name = shlex.quote(f"MLFLOW_TRACKING_URI={uri}"), shlex.quote(model)
    out.print("Serve it with MLflow:")
    out.print(
        f"  [bold]env {escape(tracking)} mlflow models serve -m {escape(name)} "
        "--env-manager local --port 5001[/]",
        soft_wrap=True,
    )


def pinned(result: Pinned) -> None:
    """The anchor, pinned or unpinned."""
    if not result.pinned:
        out.print(f"{GOOD} Version {result.version} is pinned no longer.")
        out.print("  The next promotion sets an anchor again.")
    elif not result.changed:
        out.print(f"Version {result.version} is pinned already.")
    else:
        out.print(f"{GOOD} Version [bold]{result.version}[/] is the anchor until perdure unpin.")
        out.print("  The champion is measured beside it on every arriving experience.")


def rolled_back(result: RolledBack, indent: str = "") -> None:
    """A rollback."""
    if not result.changed:
        out.print(f"{indent}Version {result.version} is champion and challenger already.")
        return
    out.print(
        f"{indent}{GOOD} Version [bold]{result.version}[/] is the champion, instead of "
        f"{_version(result.replaced)}: weights, memory and place in the data."
    )
    if result.held:
        held = ", ".join(result.held)
        out.print(f"{indent}  held, as only the abandoned versions had learned them: {held}")
        out.print(f"{indent}  free them: {_bold('perdure release ID')}")


def released(result: SetAside) -> None:
    """Experiences pending again."""
    out.print(f"{GOOD} pending again: {', '.join(result.experiences)}")
    out.print(f"Next: {_bold('perdure retrain')}")


def quarantined(result: SetAside) -> None:
    """Experiences set aside."""
    out.print(f"{GOOD} in quarantine: {', '.join(result.experiences)}")
    out.print(f"Free them: {_bold('perdure release ' + ' '.join(result.experiences))}")


def evaluated(result: Evaluated, gates: bool) -> None:
    """A version beside the champion, and what the gates say: in short, or with every number."""
    champion = result.champion_metrics
    shown = table("metric", f">version {result.version}", f">champion {result.champion or ''}")
    for name, value in result.metrics.average.items():
        shown.add_row(
            f"{name} {arrow(name)}",
            measured(name, value),
            measured(name, champion.average[name] if champion else None),
        )
    out.print(shown)
    experiences = counted(result.metrics.experiences or 0, "experience")
    out.print(f"Averages over {experiences}, {counted(result.rows, 'test row')}.")
    if gates:
        out.print(f"By today's limits: {verdict_table.summary(result.verdict)}.")
        out.print(verdict_grid(result.verdict))
        for message in result.verdict.refusals:
            out.print(f"{BAD} {escape(message)}")
    else:
        for reason in result.verdict.reasons:
            out.print(f"{MARKS[reason.answer]} {escape(reason.message)}")
    if not result.verdict.passed and result.version != result.champion:
        way = _bold(f"perdure promote {result.version} --force --reason TEXT")
        out.print(f"To let it serve all the same: {way}")


def examined(checks: Sequence[Check]) -> None:
    """The doctor's findings, one line each."""
    for check in checks:
        mend = f"  → [bold]{escape(check.mend)}[/]" if check.mend else ""
        mark = BAD if not check.ok else NOTED if check.mend else GOOD
        out.print(f"{mark} {check.name:<10} {escape_lines(check.detail)}{mend}")


def _version(number: int | None) -> str:
    return "none" if number is None else f"version {number}"
