"""The switches that keep other people's telemetry off (promise 9).

Imported by `perdure/__init__.py`, so it runs before any library that phones home is
imported. A switch that the user has set himself, to whatever value, stays as he set it.
"""

from __future__ import annotations

import os

SWITCHES: dict[str, str] = {
    "DO_NOT_TRACK": "1",  # a convention that Prefect's SDK and others read
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",  # Prefect's server, also the temporary one
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",  # MLflow 3
    "DVC_NO_ANALYTICS": "1",
    "WANDB_MODE": "disabled",  # Avalanche imports wandb
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


def switch_off() -> None:
    """Set every switch in this process's environment that is not set already."""
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)
