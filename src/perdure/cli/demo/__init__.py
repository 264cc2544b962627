"""The demo: the main job, start to end, on real weather."""

from perdure.cli.demo.closing import show
from perdure.cli.demo.story import run

__all__ = ["run", "show"]
