"""A user's own Avalanche plugin, with its state kept in the learner.

It is found by `package.module:factory` or `path/to/file.py:factory`, made with the settings
of the configuration, and must have `state_dict()` and `load_state_dict()`, as torch's modules
and optimizers do: what they give and take is all that survives the end of the process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from perdure.errors import PerdureError
from perdure.strategies import own_code
from perdure.strategies.learner.state import State
from perdure.strategies.plugins.base import Plugin, SupervisedPlugin, SupervisedTemplate
from perdure.strategies.plugins.tree import from_state, to_state

EVENTS = tuple(n for n in dir(SupervisedPlugin) if n.startswith(("before_", "after_")))


class Own(Plugin):
    """A user's plugin: all of its events are passed on, and its state is saved.

    Args:
        name: As the configuration has it, for messages.
        plugin: The user's.
    """

    def __init__(self, name: str, plugin: Any) -> None:
        super().__init__()
        self.name, self.plugin = name, plugin
        self._device = torch.device("cpu")
        self._marked = State()

    def state(self) -> State:
        """What `state_dict()` gives."""
        return to_state(self.plugin.state_dict(), self.name)

    def restore(self, state: State, strategy: SupervisedTemplate) -> None:
        """To `load_state_dict()`; not called before the plugin has learned something."""
        self._device = strategy.device
        if state.values:
            self.plugin.load_state_dict(from_state(state, self._device))

    def mark(self) -> None:
        """Keep what `state_dict()` gives now: a copy, as the user's may go on changing its own."""
        self._marked = self.state()

    def rewind(self) -> None:
        """To `load_state_dict()`, as it was at the mark."""
        self.plugin.load_state_dict(from_state(self._marked, self._device))


def make(name: str, settings: Mapping[str, Any], root: Path) -> Own:
    """Find the factory, call it, and see that what it makes can be kept.

    Args:
        name: `package.module:factory`, or `path/to/file.py:factory` from the workspace.
        settings: Passed by name.
        root: The workspace.

    Raises:
        ValueError: It cannot be found or made, is no Avalanche plugin, or its state cannot be
            saved; says which.
    """
    factory = own_code.find(name, root)
    try:
        plugin = factory(**settings)
    except Exception as error:
        raise ValueError(f"fails on {dict(settings)}: {type(error).__name__}: {error}") from error
    if not isinstance(plugin, SupervisedPlugin):
        raise ValueError(
            f"makes a {type(plugin).__name__}, no avalanche.training.plugins.SupervisedPlugin"
        )
    lacking = [n for n in ("state_dict", "load_state_dict") if not callable(_of(plugin, n))]
    if lacking:
        raise ValueError(
            f"{type(plugin).__name__} has no {'() and no '.join(lacking)}(): what it remembers "
            "would be lost between two retrainings"
        )
    try:
        to_state(plugin.state_dict(), name)
    except PerdureError as error:
        raise ValueError(error.message.removeprefix(f"{name}: ")) from error
    except Exception as error:
        raise ValueError(f"state_dict() fails: {type(error).__name__}: {error}") from error
    return _passing_on(type(plugin))(name, plugin)


def _of(plugin: Any, name: str) -> Any:
    return getattr(plugin, name, None)


def _passing_on(kind: type) -> type[Own]:
    """`Own` with a method for each event that the plugin listens to, and for no other.

    The loop calls only those that a class overrides.
    """

    def passed(event: str) -> Callable[..., Any]:
        def call(self: Own, strategy: SupervisedTemplate, *args: Any, **kwargs: Any) -> Any:
            return getattr(self.plugin, event)(strategy, *args, **kwargs)

        return call

    heard = [e for e in EVENTS if getattr(kind, e) is not getattr(SupervisedPlugin, e)]
    return type("Own", (Own,), {event: passed(event) for event in heard})
