"""Prefect's API, for what `perdure` itself asks of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import temporary_settings

from perdure.config import Workspace
from perdure.errors import Fault, Unreachable, UsageError
from perdure.orchestration import configured_server
from perdure.secrets import in_text, without_secrets


def address(ws: Workspace) -> str:
    """The API of the server that is configured or, by `perdure up`, runs for this workspace.

    Raises:
        UsageError: There is none.
    """
    url = configured_server.configured(ws.root)
    if url is None:
        raise UsageError(
            f"no Prefect server is configured, and none runs for {ws.root}",
            hint="perdure up, or set PREFECT_API_URL",
        )
    return url


@contextmanager
def client(ws: Workspace, *, retries: int = 3) -> Iterator[SyncPrefectClient]:
    """A client of that server.

    Args:
        ws: The workspace.
        retries: How often to ask again where the server is busy or away, after 2, 4, 8 … s.

    Raises:
        UsageError: There is no server.
        Unreachable: It does not answer.
        Fault: It refuses what is asked of it.
    """
    url = address(ws)
    shown = without_secrets(url)
    settings = temporary_settings(
        updates={**configured_server.access(url), "client.max_retries": retries}
    )
    try:
        with settings, get_client(sync_client=True) as found:
            yield found
    except PrefectHTTPStatusError as error:
        answer = in_text(error.response.text[:500])
        raise Fault(f"Prefect at {shown} refused: {error.response.status_code} {answer}") from error
    except httpx.HTTPError as error:
        reason = in_text(f"{type(error).__name__} {error}".rstrip())
        raise Unreachable(
            f"Prefect at {shown} does not answer: {reason}",
            hint="perdure up, or mend PREFECT_API_URL",
        ) from error
