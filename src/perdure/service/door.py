"""What the Prefect server of `perdure up` adds to Prefect's app: who may come in.

Prefect's own setting asks for a secret (`server.api.auth_string`). Beside it: only pages of this
server may call its API from a browser, a request must name this machine as its host (or else a
page elsewhere whose name leads here could send it), and `perdure open` gives a browser the secret.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from perdure import server_secret

HOSTS = ("127.0.0.1", "localhost", "[::1]")
ENTRY = "/perdure/open/{ticket}"

_PAGE = """<!doctype html><meta charset="utf-8"><title>Perdure</title>
<script>localStorage.setItem("prefect-password", {secret}); location.replace({page});</script>
"""
"""Prefect's pages keep the secret there (Prefect 3.8)."""
_GONE = """<!doctype html><meta charset="utf-8"><title>Perdure</title>
<p>This link has been used, or is older than a minute. Run <code>perdure open prefect</code> again.
"""


def guarded(app: Any, folder: Path, secret: str | None) -> Any:
    """Add it to the app.

    Args:
        app: Prefect's FastAPI app.
        folder: Where the secret and the tickets lie.
        secret: As `server.api.auth_string` has it; None: the server asks for none.
    """
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.requests import Request
    from starlette.responses import HTMLResponse
    from starlette.routing import Route

    def enter(request: Request) -> HTMLResponse:
        headers = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
        if secret is None or not server_secret.punch(folder, request.path_params["ticket"]):
            return HTMLResponse(_GONE, status_code=410, headers=headers)
        kept = base64.b64encode(secret.encode()).decode()
        page = _PAGE.format(secret=json.dumps(kept), page=json.dumps("/dashboard"))
        return HTMLResponse(page, headers=headers)

    app.router.routes.insert(0, Route(ENTRY, enter))
    # Around the app, not in it: the server's own services call the app by a name of their own.
    return TrustedHostMiddleware(app, allowed_hosts=list(HOSTS))
