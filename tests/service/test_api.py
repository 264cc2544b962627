"""Prefect's API as commands ask it."""

from __future__ import annotations

import logging

import pytest
from prefect.settings import temporary_settings

from perdure.errors import Unreachable
from perdure.orchestration import api, engine
from tests.service.conftest import MakeWorkspace
from tests.service.notify.receivers import nobody


def test_an_address_is_said_without_its_password(
    make_workspace: MakeWorkspace, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    ws = make_workspace("secret")
    with nobody() as port:
        url = f"http://ada:s3cret@127.0.0.1:{port}/api"
        with temporary_settings(updates={"api.url": url}):
            with pytest.raises(Unreachable) as caught, api.client(ws, retries=0) as client:
                client.read_flow_runs()
            assert engine._configured_server(ws.root, "going on") is None
    [result] = [record.getMessage() for record in caplog.records if record.name == "perdure"]
    for text in (result, str(caught.value), repr(caught.value)):
        assert "s3cret" not in text
    assert f"127.0.0.1:{port}" in result
