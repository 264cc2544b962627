"""The form on Prefect's page by which a person approves or refuses a version."""

from __future__ import annotations

from typing import Literal

from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from pydantic import Field

PAUSE = "approval"
"""Prefect's key of the one pause of a run: reached again, it gives the answer."""


class Decision(RunInput):
    """What a person decides about a version, as Prefect's page asks for it."""

    decision: Literal["approve", "refuse"] = Field(
        description="approve: it becomes the champion. refuse: training goes back to the champion,"
        " and what only this version has learned is held."
    )
    reason: str = Field(default="", description="Goes into the history.")


def ask(page: str) -> Decision:
    """Suspend the current flow run until a person has answered.

    That ends this process. When the run is answered, a worker begins the flow again, which gets
    here a second time, and has the answer.

    Args:
        page: What the person sees beside the form, in Markdown.
    """
    form = Decision.with_initial_data(description=page)
    answer: Decision = suspend_flow_run(wait_for_input=form, key=PAUSE)
    return answer
