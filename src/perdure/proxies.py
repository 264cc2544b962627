"""A proxy for the outside is not asked for what is on this machine.

Imported by `perdure/__init__.py`: Prefect's client (httpx), MLflow's (requests) and what they
start read the environment, and a server of ours on loopback is not there for a proxy.
"""

from __future__ import annotations

import os

HERE = ("127.0.0.1", "localhost", "::1")
NAMES = ("NO_PROXY", "no_proxy")
"""Programs differ in which they read first."""


def spare_this_machine() -> None:
    """Add this machine to those that no proxy is asked for, where the environment names a proxy.

    Elsewhere the environment stays as it is, or a proxy of the system's settings were forgotten.
    """
    if not any(
        name.lower().endswith("_proxy") and name not in NAMES and value
        for name, value in os.environ.items()
    ):
        return
    proxies = {name: os.environ[name] for name in NAMES if os.environ.get(name)}
    for name in NAMES:
        spared = (proxies.get(name) or next(iter(proxies.values()), "")).split(",")
        known = [one.strip() for one in spared if one.strip()]
        if "*" not in known:
            os.environ[name] = ",".join([*known, *(one for one in HERE if one not in known)])
