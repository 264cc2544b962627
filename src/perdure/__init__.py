"""Perdure keeps a model in production learning, and lets you take it back."""

from perdure import proxies, telemetry

telemetry.switch_off()
proxies.spare_this_machine()

__version__ = "0.1.0"
