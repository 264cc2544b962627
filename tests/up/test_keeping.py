"""What keeping a part says of it."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from perdure.up import keeping, kin
from perdure.up.keeping import Keeping
from perdure.up.logs import Log
from perdure.up.parts import Part
from tests.up import programs
from tests.up.conftest import eventually


@pytest.mark.parametrize("slow_s", [0.3, 300.0])
def test_a_start_that_takes_long_is_told_of_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    slow_s: float,
) -> None:
    monkeypatch.setattr(keeping, "SLOW_SECONDS", slow_s)
    caplog.set_level(logging.INFO, "perdure")
    says = "import os, time; time.sleep(1); print('am here', flush=True)"
    part = Part("slow", tuple(programs.command(says, programs.SLEEP)), says="am here")
    environment = {**os.environ, kin.MARK: kin.new_mark(tmp_path), kin.PART: part.name}
    one = Keeping(part, environment, tmp_path, Log(tmp_path / "slow.log"), lambda: None)
    one.start([])
    try:
        eventually(one.was_ready.is_set)
    finally:
        one.stop()
        eventually(one.ended.is_set)
    told = [record.getMessage() for record in caplog.records if "not ready" in record.getMessage()]
    assert len(told) == (slow_s < 1)
    assert all("perdure logs slow" in text for text in told)
