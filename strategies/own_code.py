"""A user's own function: `package.module:function`, or `path/to/file.py:function`."""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any


def find(name: str, root: Path) -> Callable[..., Any]:
    """Import the module, or run the file, and take the function out of it.

    Args:
        name: Where it is; a path is relative to the workspace.
        root: The workspace.

    Raises:
        ValueError: The module cannot be had, or has no such function; says which.
    """
    place, _, function = name.rpartition(":")
    try:
        module = (
            _from_file(root / place) if place.endswith(".py") else importlib.import_module(place)
        )
    except Exception as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    found = getattr(module, function, None)
    if not callable(found):
        raise ValueError(f"{place} has no function {function}")
    return found  # type: ignore[no-any-return]  # the user's own


def _from_file(path: Path) -> ModuleType:
    # A name of its own for each path, so that no user's file hides a package.
    name = f"perdure_user_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    module = ModuleType(name)
    module.__file__ = str(path)
    # Compiled here, not imported: no stale bytecode, and no __pycache__ in the workspace.
    code = compile(path.read_bytes(), str(path), "exec")
    sys.modules[name] = module  # dataclasses and torch look their own module up
    try:
        exec(code, module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    return module
