"""Workspaces to start from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.promises import grown as growing
from tests.promises import kit


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """With one experience of 120 rows, pending; replay of 40 rows; no gate."""
    return kit.make(tmp_path / "workspace")


@pytest.fixture(scope="session")
def grown(tmp_path_factory: pytest.TempPathFactory) -> growing.Grown:
    """Five experiences learned; to be looked at only."""
    return growing.grow(tmp_path_factory.mktemp("grown") / "workspace")
