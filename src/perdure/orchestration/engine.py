"""Where flows run: on the configured Prefect server, on a temporary one, or without any.

Prefect shows what happens, starts it on time and restarts it; it never decides what is true.
So a server that is down, or goes down in the middle, does not change a result.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import prefect
from prefect import Flow
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext

from perdure.config import CONFIG_NAME, Workspace
from perdure.errors import PerdureError, Unreachable
from perdure.orchestration import (
    configured_server,
    memory,
    names,
    outcomes,
    run_lock,
    temporary_server,
)
from perdure.orchestration.outcome import SERVER_ERRORS, Outcome
from perdure.orchestration.outcomes import Ending
from perdure.secrets import in_text
from perdure.workspace import root_of

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State, TaskRun
    from prefect.tasks import Task

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger("perdure")


def flow(
    *,
    name: str,
    flow_run_name: str | Callable[[], str],
    ending: Callable[[Any], Ending] | None = None,
    skips: bool = False,
) -> Callable[[Callable[P, R]], Flow[P, R]]:
    """`prefect.flow` that keeps promise 7, and whose deployment's runs end in a named state.

    Prefect writes the exception of a failed flow to its result storage, by default as a
    pickle and even where results are not kept; here as JSON.

    Args:
        name: Of the flow.
        flow_run_name: Of its runs; see `run_name`.
        ending: From the result to the name and the message of the last state.
        skips: Whether a run that finds the model locked ends well, as "Skipped".
    """

    def decorate(fn: Callable[P, R]) -> Flow[P, R]:
        return prefect.flow(
            name=name,
            flow_run_name=flow_run_name,
            persist_result=False,
            result_serializer="json",
            cache_result_in_memory=False,
        )(run_lock.held(outcomes.named(memory.explained()(fn), ending, skips)))

    return decorate


def run_name(verb: str, parameter: str | None = None) -> Callable[[], str]:
    """Make a flow-run name such as `retrain weather`, from the flow's parameter `workspace`.

    For names made of parameters alone, Prefect's templates do: `"learn {experience}"`.

    Args:
        verb: What the flow does.
        parameter: A parameter that the name ends with, as in `approve weather version 4`.
    """

    def name() -> str:
        from prefect.runtime import flow_run

        given = flow_run.parameters
        name = f"{verb} {_model_name(str(given.get('workspace', '.')))}"
        return name if parameter is None else f"{name} {parameter} {given.get(parameter)}"

    return name


def _model_name(workspace: str) -> str:
    from perdure import config

    try:
        return config.read(root_of(workspace)).config.model.name
    except PerdureError:  # the flow itself will say what is wrong with the workspace
        return root_of(workspace).name


def in_flow_run() -> bool:
    """Whether the caller runs inside a Prefect flow run."""
    return FlowRunContext.get() is not None


def is_of_its_own() -> bool:
    """Whether the caller runs inside a flow run that is no other one's subflow."""
    context = FlowRunContext.get()
    run = context.flow_run if context is not None else None
    return run is not None and run.parent_task_run_id is None


def step(
    fn: Callable[P, R],
    *,
    name: str,
    retries: int = 0,
    retry_delay_seconds: float | Sequence[float] = (1.0, 5.0, 30.0),
) -> Callable[P, R]:
    """A step of a flow: a Prefect task inside a flow run, the plain function outside of one.

    Arguments and result are passed as they are: not hashed, not cached, not written.

    Args:
        fn: The function.
        name: What the task is called where people look.
        retries: How often to try again where an outside system did not answer
            (`Unreachable`). Any other error passes at once, unchanged.
        retry_delay_seconds: Waits before the first, second, … further try; the last repeats.
    """
    delays = (
        [retry_delay_seconds]
        if isinstance(retry_delay_seconds, (int, float))
        else list(retry_delay_seconds)
    )

    @functools.wraps(fn)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if not in_flow_run():
            return fn(*args, **kwargs)
        task = prefect.task(
            name=name,
            task_run_name=name,
            retries=retries,
            retry_delay_seconds=[delays[min(i, len(delays) - 1)] for i in range(retries)],
            retry_condition_fn=_outside_did_not_answer,
            persist_result=False,
            cache_policy=NO_CACHE,
            cache_result_in_memory=False,
        )(_plain(fn))
        return task(*args, **kwargs)

    return call


def _plain(fn: Callable[P, R]) -> Callable[P, R]:
    """Prefect wants a function; a bound method or a partial is not quite one."""

    @functools.wraps(fn)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return fn(*args, **kwargs)

    return call


def _outside_did_not_answer(task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Prefect asks this only while tries are left."""
    if not isinstance(state.data, Unreachable):
        return False
    logger.warning("%s: %s Trying again.", task.name, state.data.message)
    return True


def report(ws: Workspace, flow_name: str, markdown: str, about: str) -> None:
    """Keep a Markdown page with the current flow run; outside of one, nothing.

    The pages of one flow of one model are versions of one artifact, as in `retrain-weather`.

    Args:
        ws: The workspace.
        flow_name: The flow.
        markdown: The page.
        about: One line, for the list of artifacts.
    """
    if not in_flow_run():
        return
    from prefect.artifacts import create_markdown_artifact

    key = f"{flow_name}-{names.slug(ws.config.model.name)}"
    try:
        create_markdown_artifact(markdown, key=key, description=about)
    except SERVER_ERRORS as error:
        logger.warning("The report was not kept with Prefect: %s", in_text(str(error)))


def run(flow: Flow[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a flow where a Prefect API is configured and answers; otherwise call its function.

    Inside a flow run, it is a subflow of that one.
    """
    if in_flow_run():
        return flow(*args, **kwargs)
    workspace = root_of(str(kwargs.get("workspace", ".")))
    server = _configured_server(workspace, "going on without it")
    if server is None:
        return flow.fn(*args, **kwargs)
    with server:
        return Outcome(flow).run(*args, **kwargs)


def run_with_server(flow: Flow[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a flow where a Prefect API is configured and answers; otherwise on a temporary server.

    The temporary server belongs to the workspace in the flow's keyword argument `workspace`:
    its database, with the runs so far, is `.perdure/prefect.db` there. It ends with this
    process. Inside a flow run, the flow is a subflow of that one.
    """
    if in_flow_run():
        return flow(*args, **kwargs)
    workspace = root_of(str(kwargs.get("workspace", ".")))
    server = _configured_server(workspace, "running on a temporary server")
    if server is None and (workspace / CONFIG_NAME).exists():
        server = _temporary_server(workspace)
    if server is None:
        return flow.fn(*args, **kwargs)
    with server:
        return Outcome(flow).run(*args, **kwargs)


def _configured_server(root: Path, otherwise: str) -> AbstractContextManager[None] | None:
    url = configured_server.configured(root)
    if url is None or not configured_server.answers(url, otherwise):
        return None
    return configured_server.on_configured(url)


def start_early(workspace: str) -> None:
    """Start the temporary server that `run_with_server` will need, and do not wait for it.

    It takes about 3 s, in which the caller may import what it needs.
    """
    root = root_of(workspace)
    if in_flow_run() or configured_server.configured(root) or not (root / CONFIG_NAME).exists():
        return
    with suppress(OSError):  # run_with_server will say so
        temporary_server.start(_database(root))


def _temporary_server(root: Path) -> AbstractContextManager[None] | None:
    try:
        url = temporary_server.start(_database(root)).api_url
    except OSError as error:
        logger.warning("%s; going on without Prefect.", error)
        return None
    return configured_server.on_temporary(url)


def _database(root: Path) -> Path:
    return root / ".perdure" / "prefect.db"
