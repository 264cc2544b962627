"""Gates of the user's own: functions of the rows that give a finding."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from perdure.config import CONFIG_NAME, Config, OwnGateConfig, Workspace
from perdure.errors import ConfigError, Fault
from perdure.records import Answer, Reason
from perdure.strategies import own_code

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    Outputs = NDArray[np.floating[Any]]

_ANSWERS = ("passed", "refused", "undecided")
_KEYS = {"value", "limit", "champion", "answer", "passed", "message", "metric"}


def check(config: Config, root: Path) -> Sequence[str]:
    """Find faults of `[[gates.own]]`: functions that cannot be had."""
    faults = []
    for place, one in enumerate(config.gates.own):
        try:
            own_code.find(one.factory, root)
        except ValueError as error:
            faults.append(f"gates.own.{place}.factory = {one.factory!r}: {error}")
    return faults


def ask(
    workspace: Workspace,
    truth: NDArray[Any],
    candidate: Outputs,
    champion: Outputs | None,
    rows: pd.DataFrame,
) -> tuple[Reason, ...]:
    """Ask each function of `[[gates.own]]` about the evaluation rows.

    It is called as `function(truth=…, candidate=…, champion=…, rows=…)`:

    - `truth`: (rows,) class codes in the order of the outputs, or values in the target's unit.
    - `candidate`, `champion`: (rows, classes) probabilities, or (rows,) values; `champion` is
      None where there is none.
    - `rows`: the raw columns with the target, and `_experience`, each row's experience.

    It returns a mapping: `value` (a number) and `passed` (true or false) or `answer` ("passed",
    "refused" or "undecided"); and if it likes `limit`, `champion` (numbers), `metric`, `message`.

    Raises:
        ConfigError: The function cannot be had, or returns something else.
        Fault: It raises an exception.
    """
    found = []
    for place, one in enumerate(workspace.config.gates.own):
        key = f"gates.own.{place}.factory = {one.factory!r}"
        try:
            function = own_code.find(one.factory, workspace.root)
        except ValueError as error:
            raise _wrong(f"{key}: {error}") from error
        try:
            result = function(
                truth=truth.copy(),
                candidate=candidate.copy(),
                champion=None if champion is None else champion.copy(),
                rows=rows.copy(),
            )
        except Exception as error:
            raise Fault(
                f"the gate {one.factory} raised {type(error).__name__}: {error}",
                hint="mend the function, or take it out of [[gates.own]]; nothing was changed",
            ) from error
        found.append(_reason(one, key, result, len(rows)))
    return tuple(found)


def _reason(one: OwnGateConfig, key: str, result: Any, rows: int) -> Reason:
    if not isinstance(result, Mapping) or "value" not in result:
        raise _wrong(f"{key}: returned {result!r:.80}; it is to return a mapping with a `value`")
    if strange := sorted(map(str, set(result) - _KEYS)):
        raise _wrong(f"{key}: returned {strange[0]!r}; known are {', '.join(sorted(_KEYS))}")
    numbers = {}
    for name in ("value", "limit", "champion"):
        given = result.get(name)
        try:
            numbers[name] = None if given is None else float(given)
        except (TypeError, ValueError):
            raise _wrong(f"{key}: returned {name} = {given!r:.80}, no number") from None
    answer = result.get("answer")
    if answer is None and "passed" in result:
        answer = "passed" if bool(result["passed"]) else "refused"
    if answer not in _ANSWERS:
        raise _wrong(f"{key}: returned answer = {answer!r:.80}; choose {', '.join(_ANSWERS)}")
    value = numbers["value"]
    message = result.get("message") or f"value {value}" + (
        "" if numbers["limit"] is None else f", limit {numbers['limit']:g}"
    )
    return Reason(
        gate=f"own {one.title}",
        answer=cast(Answer, answer),
        metric=str(result.get("metric") or one.title),
        value=math.nan if value is None else value,
        limit=numbers["limit"],
        champion=numbers["champion"],
        message=f"own {one.title}: {message}",
        rows=rows,
    )


def _wrong(fault: str) -> ConfigError:
    return ConfigError(CONFIG_NAME, [fault])
