"""A proxy for the outside is not asked for what is on this machine; else nothing changes."""

from __future__ import annotations

import os

import pytest

from perdure import proxies

NAMES = ("NO_PROXY", "no_proxy")


@pytest.fixture(autouse=True)
def _no_proxy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [one for one in os.environ if one.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    for name in NAMES:  # so that what is written is taken back
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def spared(**environment: str) -> list[list[str] | None]:
    os.environ.update(environment)
    proxies.spare_this_machine()
    found = [os.environ.get(name) for name in NAMES]
    return [None if one is None else one.split(",") for one in found]


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "all_proxy"])
def test_this_machine_is_spared(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "http://proxy.example:3128")
    assert spared() == [["127.0.0.1", "localhost", "::1"]] * 2
    assert spared() == [["127.0.0.1", "localhost", "::1"]] * 2  # once


def test_what_is_said_already_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    here = ["127.0.0.1", "::1"]
    assert (
        spared(no_proxy="intranet.example, localhost")
        == [["intranet.example", "localhost", *here]] * 2
    )
    assert spared(NO_PROXY="a", no_proxy="b") == [
        ["a", "127.0.0.1", "localhost", "::1"],
        ["b", "127.0.0.1", "localhost", "::1"],
    ]
    assert spared(NO_PROXY="*", no_proxy="*") == [["*"]] * 2


def test_without_a_proxy_nothing_is_written() -> None:
    """Or one of the system's settings, as on a Mac, were no longer asked for the outside."""
    assert spared() == [None, None]
    assert spared(NO_PROXY="intranet.example") == [["intranet.example"], None]
