"""Changes of the registry: checked, carried out once, and finished by whoever comes next."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking.client import MlflowClient

from perdure.errors import Fault, LockHeld, UsageError
from perdure.records import Change, Event, Held, Reason, Verdict
from perdure.tasks.registry import Registry, codec
from perdure.tasks.registry.client import Missing
from tests.tasks.version_kit import AT, bare_versions, plain, workspace

NO = Verdict(
    "refused", (Reason("floor", "refused", "accuracy", 0.4, 0.5, None, "0.4 < 0.5 " * 700),)
)
YES = Verdict("passed", (Reason("floor", "passed", "accuracy", 0.9, 0.5, 0.8, "fine"),))

FIRST = Change(
    key="promotion 'of' the first",
    expects={"champion": None, "challenger": None},
    aliases={"champion": 1, "challenger": 2},
    replaced={1: None},
    verdicts={1: YES},
    hold=(Held("000009-99999999", ("by hand",), AT, "me", quarantined=True),),
    events=(
        Event(AT, "promoted", 1, None, "000001-aaaaaaaa", None, "me"),
        Event(AT, "quarantined", None, None, "000009-99999999", "by hand", "me"),
    ),
)
LATER = "2026-02-03T04:05:06+00:00"
SECOND = Change(
    key="back",
    expects={"champion": 1, "challenger": 2},
    aliases={"champion": 2, "challenger": 2},
    replaced={2: 1},
    verdicts={2: YES, 3: NO},
    hold=(
        Held("000003-33333333", ("x" * 9000, "and \u00fcmlaut"), LATER, "you"),
        Held("000004-44444444", ("bad",), LATER, "you"),
    ),
    release=("000009-99999999", "000008-never-held"),
    events=(
        Event(LATER, "rolled back", 2, 1, "000002-bbbbbbbb", "r" * 9000, "you"),
        Event(LATER, "held", None, None, "000003-33333333", "why", "you"),
        Event(LATER, "released", None, None, "000009-99999999", None, "you"),
    ),
)

SHORT = Change(
    key="short",
    expects=SECOND.expects,
    aliases=SECOND.aliases,
    replaced={2: 1},
    verdicts={
        3: Verdict("refused", (Reason("floor", "refused", "accuracy", 0.4, 0.5, None, "low"),))
    },
    hold=SECOND.hold[1:],
    release=SECOND.release[:1],
    events=(dataclasses.replace(SECOND.events[0], reason="bad"), *SECOND.events[1:2]),
)
"""Every kind of write, once or twice."""


class Killed(BaseException):
    """Like SIGKILL, nothing catches it."""


@pytest.fixture
def registry(root: Path, request: pytest.FixtureRequest) -> Registry:
    """A model of its own in the one database, with three versions."""
    return model(root, request.node.name)


def model(root: Path, name: str) -> Registry:
    registry = Registry(workspace(root, name.translate(str.maketrans("[]/:.", "     "))))
    bare_versions(registry, 3)
    return registry


def state(registry: Registry) -> dict[str, Any]:
    """All that a change may write, less what MLflow numbers and dates itself."""
    now = registry.read()
    tags = registry.client.call("get_registered_model", registry.name).tags
    experiment = registry.client.call("get_experiment_by_name", f"{registry.name}/history")
    runs = experiment and registry.client.call("search_runs", [experiment.experiment_id])
    return {
        "aliases": (plain(now.champion), plain(now.challenger)),
        "versions": [plain(version) for version in registry.versions()],
        "tags": dict(tags),
        "history": registry.history(),
        "runs": sorted(
            (r.info.run_name, r.info.status, r.data.tags[codec.PREFIX + "seq"]) for r in runs or ()
        ),
        "descriptions": [
            registry.client.call("get_model_version", registry.name, str(n)).description
            for n in (1, 2, 3)
        ],
    }


def cut_at(registry: Registry, number: int) -> Callable[[], int]:
    """Kill the process before its call `number` to MLflow; returns how many there were."""
    original, calls = registry.client.call, 0

    def call(name: str, *args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        if calls == number:
            raise Killed(name)
        calls += 1
        return original(name, *args, **kwargs)

    registry.client.call = call  # type: ignore[method-assign]
    return lambda: calls


def test_a_change_is_carried_out(registry: Registry) -> None:
    registry.apply(FIRST)
    now = registry.read()
    assert now.champion == registry.version(1)
    assert now.challenger == registry.version(2)
    assert now.champion_since == now.challenger_since == AT
    assert now.held == {"000009-99999999": FIRST.hold[0]}
    assert registry.version(1).verdict == "passed"
    assert registry.version(2).verdict is None
    assert registry.history() == FIRST.events

    registry.apply(SECOND)
    now = registry.read()
    assert now.champion == now.challenger == registry.version(2)
    assert now.champion is not None
    assert now.champion.replaced == 1
    assert (now.champion_since, now.challenger_since) == (LATER, AT), "the challenger did not move"
    assert now.held == {held.id: held for held in SECOND.hold}
    assert registry.version(3).verdict == "refused"
    assert registry.version(3).reasons == NO.refusals
    assert registry.history() == FIRST.events + SECOND.events
    assert codec.INTENT not in state(registry)["tags"]


def test_the_quick_look_and_mlflow_agree(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.apply(FIRST)
    registry.apply(SECOND)
    quickly = registry.read()
    asked: list[str] = []
    original = registry.client.call

    def call(name: str, *args: Any, **kwargs: Any) -> Any:
        asked.append(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(registry.client, "call", call)
    assert registry.read() == quickly
    assert asked == [], "MLflow was asked, though its file can be read"
    monkeypatch.setattr("perdure.tasks.registry.quick.REVISIONS", frozenset({"another"}))
    assert registry.read() == quickly
    assert asked[0] == "get_registered_model"


def test_the_model_is_not_read_again_before_each_write(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    original = MlflowClient.get_registered_model

    def counted(self: MlflowClient, name: str) -> Any:
        read.append(name)
        return original(self, name)

    registry = model(root, "read once")
    monkeypatch.setattr(MlflowClient, "get_registered_model", counted)
    registry.apply(FIRST)
    assert len(read) <= 2
    read.clear()
    registry.apply(SECOND)
    assert read == []
    plain_client = MlflowClient(registry.client.uri, registry.client.uri)
    plain_client.set_registered_model_tag(registry.name, "a", "b")
    assert read == [registry.name], "MLflow's client no longer reads: writing.py can go"


def test_what_was_deleted_meanwhile_is_not_written_to(root: Path) -> None:
    registry = model(root, "deleted")
    registry.apply(FIRST)
    registry.client.call("delete_model_version", registry.name, "3")
    with pytest.raises(Missing):
        registry.client.call("set_registered_model_alias", registry.name, "contender", "3")
    registry.client.call("delete_registered_model", registry.name)
    for name, *rest in (
        ("set_registered_model_tag", "a", "b"),
        ("set_registered_model_alias", "champion", "1"),
        ("set_model_version_tag", "1", "a", "b"),
        ("update_model_version", "1", "words"),
    ):
        with pytest.raises(Missing):
            registry.client.call(name, registry.name, *rest)


def test_a_prompt_is_no_model(root: Path) -> None:
    registry = Registry(workspace(root, "a-prompt"))
    registry.client.fluent("register_prompt", registry.name, "Say {{ this }}.")
    for _ in range(2):
        with pytest.raises(Missing):
            registry.client.call("set_registered_model_tag", registry.name, "a", "b")


def test_a_version_registered_with_its_verdict_is_not_judged_again(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = registry.judge(2, NO)
    asked: list[str] = []
    original = registry.client.call

    def call(name: str, *args: Any, **kwargs: Any) -> Any:
        asked.append(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(registry.client, "call", call)
    assert registry.judge(2, NO) == judged
    assert asked == []
    assert registry.judge(2, YES).verdict == "passed"
    assert "set_model_version_tag" in asked
    assert "update_model_version" in asked


def test_a_change_twice_is_a_change_once(registry: Registry) -> None:
    registry.apply(FIRST)
    once = state(registry)
    registry.apply(FIRST)
    assert state(registry) == once
    registry.apply(SECOND)
    twice = state(registry)
    registry.apply(FIRST)
    registry.apply(SECOND)
    assert state(registry) == twice


def test_a_change_without_events_twice(registry: Registry) -> None:
    change = Change("quiet", {"champion": None}, {"champion": 3})
    registry.apply(change)
    once = state(registry)
    registry.apply(change)
    assert state(registry) == once


def test_killed_before_any_call_and_recovered(root: Path) -> None:
    """Promise 3, for promotion and rollback."""
    whole = model(root, "whole")
    whole.apply(FIRST)
    before = state(whole)
    counted = cut_at(whole, -1)
    whole.apply(SHORT)
    calls = counted()
    expected = state(whole)
    assert calls > 15

    differed = 0
    for number in range(calls):
        registry = model(root, f"cut {number}")
        registry.apply(FIRST)
        cut_at(registry, number)
        with pytest.raises(Killed):
            registry.apply(SHORT)
        again = Registry(registry.workspace)
        half = state(again)
        recovered = again.recover()
        if recovered is None:
            # Before the intent was whole: as if nothing had been done; or all was done.
            if {**half, "tags": _told(half)} == {**before, "tags": _told(before)}:
                again.apply(SHORT)
        else:
            assert recovered == SHORT
            differed += half != expected
        assert _without_remains(state(again)) == expected, f"cut before call {number}"
        assert again.recover() is None
    again.apply(SHORT)
    assert _without_remains(state(again)) == expected
    assert differed > 10, "hardly any cut left anything to recover"


def test_killed_while_recovering(root: Path) -> None:
    expected = model(root, "uncut")
    expected.apply(FIRST)
    expected.apply(SECOND)
    registry = model(root, "cut again and again")
    registry.apply(FIRST)
    cut_at(registry, 16)
    with pytest.raises(Killed):
        registry.apply(SECOND)
    for number in (3, 7, 12, 15):
        again = Registry(registry.workspace)
        cut_at(again, number)
        with pytest.raises(Killed):
            again.recover()
    again = Registry(registry.workspace)
    assert again.recover() == SECOND
    assert state(again) == state(expected)


def _told(one: dict[str, Any]) -> dict[str, str]:
    return {tag: text for tag, text in one["tags"].items() if not tag.startswith(codec.INTENT)}


def _without_remains(one: dict[str, Any]) -> dict[str, Any]:
    """Parts of an intent without its head mean nothing; the next intent clears them away."""
    return {**one, "tags": _told(one)} if codec.INTENT not in one["tags"] else one


def test_the_next_change_finishes_the_last(registry: Registry) -> None:
    registry.apply(FIRST)
    cut_at(registry, 30)
    with pytest.raises(Killed):
        registry.apply(SECOND)
    again = Registry(registry.workspace)
    event = Event(LATER, "promoted", 3, 2, None, None, "me")
    again.apply(Change("third", {"champion": 2}, {"champion": 3}, {3: 2}, events=(event,)))
    assert again.history() == (*FIRST.events, *SECOND.events, event)
    assert again.version(3).replaced == 2


def test_somebody_else_moved_an_alias(registry: Registry) -> None:
    registry.apply(FIRST)
    before = state(registry)
    registry.client.call("set_registered_model_alias", registry.name, "champion", "3")
    with pytest.raises(LockHeld, match="champion is now v3, not v1") as result:
        registry.apply(SECOND)
    assert result.value.exit_code == 4
    registry.client.call("set_registered_model_alias", registry.name, "champion", "1")
    assert state(registry) == before


def test_somebody_else_began_at_the_same_time(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine's intent lands between ours and our look at it."""
    registry.apply(FIRST)
    original = registry.client.call

    def call(name: str, *args: Any, **kwargs: Any) -> Any:
        result = original(name, *args, **kwargs)
        if name == "set_registered_model_tag" and args[1] == codec.INTENT:
            theirs = args[2].replace('"key":"short"', '"key":"other"')
            assert theirs != args[2]
            original(name, args[0], args[1], theirs)
        return result

    monkeypatch.setattr(registry.client, "call", call)
    with pytest.raises(LockHeld, match="at the same time"):
        registry.apply(SHORT)
    assert registry.history() == FIRST.events


def test_an_unknown_version_changes_nothing(registry: Registry) -> None:
    before = state(registry)
    with pytest.raises(UsageError, match="there is no version 8"):
        registry.apply(Change("k", aliases={"champion": 8}))
    assert state(registry) == before


def test_what_was_written_is_read_back(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    original = registry.client.call

    def deaf(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "set_registered_model_alias" and args[1] == "champion":
            return None
        return original(name, *args, **kwargs)

    monkeypatch.setattr(registry.client, "call", deaf)
    with pytest.raises(Fault, match="alias champion is on nothing, not v1"):
        registry.apply(FIRST)
    assert registry.history() == ()


def test_an_alias_is_taken_away(registry: Registry) -> None:
    registry.apply(FIRST)
    registry.apply(Change("away", {"champion": 1}, {"champion": None}))
    now = registry.read()
    assert (now.champion, now.champion_since) == (None, None)
    assert now.challenger is not None


def test_holding_before_there_is_a_version(root: Path) -> None:
    registry = Registry(workspace(root, "nothing learned yet"))
    assert registry.recover() is None
    assert registry.history() == ()
    registry.apply(Change("hold", hold=FIRST.hold, events=FIRST.events[1:]))
    assert registry.read().held == {"000009-99999999": FIRST.hold[0]}
    assert registry.read().champion is None
    assert registry.history() == FIRST.events[1:]


def test_a_verdict_later(registry: Registry) -> None:
    assert registry.version(2).verdict is None
    judged = registry.judge(2, NO)
    assert judged == registry.version(2)
    assert (judged.verdict, judged.reasons) == ("refused", NO.refusals)
    description = registry.client.call("get_model_version", registry.name, "2").description
    assert "**Verdict: refused**" in description
    assert "| floor | refused | 0.4000 accuracy | – | – | 0.5000 | – | – |" in description
    assert "- 0.4 &lt; 0.5" in description
    assert registry.verdict(2) == NO
    assert registry.verdict(1) is None


def test_a_long_history_keeps_its_order(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perdure.tasks.registry.history.PAGE", 4)
    for turn in range(6):
        # All in the same second, and some before: time is not what orders them.
        at = f"2026-01-01T00:00:0{turn % 2}+00:00"
        events = tuple(Event(at, "held", None, None, f"{turn}-{n}", None, "me") for n in range(2))
        registry.apply(Change(f"turn {turn}", events=events))
    assert [event.experience for event in registry.history()] == [
        f"{turn}-{n}" for turn in range(6) for n in range(2)
    ]
