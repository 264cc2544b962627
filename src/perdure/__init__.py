"""Perdure keeps a model in production learning, and lets you take it back."""

from perdure import telemetry

telemetry.switch_off()

__version__ = "0.1.0"
