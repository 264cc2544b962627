"""Messages reach real receivers, in plain words, and an address is never in a log or error."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import pytest

from perdure import config
from perdure.config import Workspace
from perdure.errors import ConfigError, Fault
from perdure.service.notify import receivers
from perdure.service.notify.message import Message
from perdure.service.notify.notice import Notice
from tests.promises import kit
from tests.service.notify.receivers import http_receiver, nobody, smtp_receiver

AT = "2026-11-21T19:00:00.000001+00:00"
REFUSED = Message(
    "refused",
    "weather",
    AT,
    "/srv/weather on host",
    version=12,
    experiences=("000013-1a2b3c4d",),
    reason="accuracy 0.4 {{ x }}\n< floor 0.5",
    by="ada",
)
PROMOTED = dataclasses.replace(REFUSED, occasion="promoted", replaced=11, reason="every gate")


def workspace(root: Path, *entries: str) -> Workspace:
    text = '[model]\nname = "weather"\n[data]\ntarget = "kind"\ntask = "classification"\n'
    text += "".join(f"[[notify]]\n{entry}\n" for entry in entries)
    return Workspace(root, config.parse(text))


# Apprise's own parts use what Python deprecates.
apprise = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def send(ws: Workspace, message: Message) -> list[Fault]:
    """Send to each receiver; return what went wrong, one fault for each that was not reached."""
    failed = []
    for receiver in receivers.configured(ws):
        try:
            assert receiver.send(Notice(AT, (message,), ())) == 1
        except Fault as error:
            failed.append(error)
    return failed


def test_a_webhook_gets_facts(tmp_path: Path) -> None:
    with http_receiver() as box:
        ws = workspace(tmp_path, f'kind = "webhook"\nurl = "{box.url}/a/path?key=s3cret"')
        assert send(ws, REFUSED) == []
    [(path, result)] = box.got
    assert path == "/a/path?key=s3cret"
    assert result == {
        "event": "refused",
        "model": "weather",
        "version": 12,
        "replaced": None,
        "experiences": ["000013-1a2b3c4d"],
        "run": None,
        "reason": "accuracy 0.4 {{ x }}\n< floor 0.5",
        "text": "weather: version 12 was refused",
        "at": AT,
        "by": "ada",
        "workspace": "/srv/weather on host",
    }


def test_slack_gets_text(tmp_path: Path) -> None:
    with http_receiver() as box:
        ws = workspace(tmp_path, f'kind = "slack"\nurl = "{box.url}/hooks/abcdef"')
        assert send(ws, PROMOTED) == []
    [result] = box.posts
    assert set(result) == {"text"}
    first, *_, last = result["text"].splitlines()
    assert first == "weather: version 12 is the champion."
    assert last == "Next: perdure show 12; perdure rollback takes it back"


@apprise
def test_an_email_arrives_with_subject_and_lines(tmp_path: Path) -> None:
    with smtp_receiver() as (host, letters):
        url = f"mailto://{host}?from=perdure@example.org&to=ada@example.org"
        assert send(workspace(tmp_path, f'kind = "email"\nurl = "{url}"'), REFUSED) == []
    [letter] = letters
    assert letter["Subject"] == "weather: version 12 was refused"
    assert letter["To"] == "ada@example.org"
    content = letter.get_payload(decode=True)
    assert isinstance(content, bytes)
    assert content.decode().splitlines() == [
        "weather: version 12 was refused.",
        "Held: 000013-1a2b3c4d.",
        "Why: accuracy 0.4 {{ x }} < floor 0.5",
        f"When: {AT}, by ada",
        "Where: /srv/weather on host",
        "Next: perdure show 12",
    ]


def test_a_block_of_prefects_is_loaded_from_its_server(
    tmp_path: Path, prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.blocks.notifications import CustomWebhookNotificationBlock
    from prefect.settings import temporary_settings

    with http_receiver() as box, temporary_settings({"api.url": prefect_server}):
        CustomWebhookNotificationBlock.model_validate(
            {"name": "team", "url": box.url, "json_data": {"s": "{{subject}}", "b": "{{body}}"}}
        ).save("team", overwrite=True)
        ws = workspace(tmp_path, 'block = "custom-webhook/team"')
        assert send(ws, REFUSED) == []
        assert box.posts == [{"s": REFUSED.subject, "b": REFUSED.body}]
        [failed] = send(workspace(tmp_path, 'block = "slack-webhook/none"'), REFUSED)
        assert "slack-webhook/none" in failed.message


@apprise
def test_an_address_is_in_no_log_and_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = ["s3cret-token", "pa55word", "TIiajkdnlazkcOXrIdevi7FQ", "b0tkey99"]
    with http_receiver() as refusing, http_receiver() as well, nobody() as port:
        monkeypatch.setenv("WEBHOOK", f"http://user:{secrets[1]}@127.0.0.1:{port}/{secrets[0]}")
        refusing.status = 503
        ws = workspace(
            tmp_path,
            'kind = "webhook"\nurl = "env:WEBHOOK"',
            f'kind = "slack"\nurl = "{refusing.url}/{secrets[2]}"',
            f'kind = "email"\nurl = "mailto://a:{secrets[3]}@127.0.0.1:{port}?from=a@b.cd"',
            f'kind = "webhook"\nurl = "{well.url}/{secrets[0]}"',
        )
        failed = send(ws, REFUSED)
        assert well.posts[0]["event"] == "refused"
        assert refusing.refused == 1
    assert [error.message.partition(")")[0] for error in failed] == [
        "webhook notice (notify.0",
        "slack notice (notify.1",
        "email notice (notify.2",
    ]
    assert "answered 503" in failed[1].message
    assert caplog.records
    output = caplog.text + "".join(map(str, failed)) + "".join(map(repr, failed))
    assert [secret for secret in secrets if secret in output] == []
    assert all(error.__cause__ is None for error in failed)


def test_wrong_addresses_are_told_with_their_keys_before_anything_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    ws = workspace(
        tmp_path,
        'kind = "webhook"\nurl = "env:NOT_SET"',
        'kind = "slack"\nurl = "ftp://host/s3cret"',
        'kind = "email"\nurl = "mailto://host"',
        'block = "no slash"',
        'kind = "webhook"\nurl = "https://example.org/x"',
    )
    with pytest.raises(ConfigError) as caught:
        receivers.check(ws)
    faults = caught.value.faults
    assert [fault.partition(":")[0] for fault in faults] == [
        "notify.0.url",
        "notify.1.url",
        "notify.2.url",
        "notify.3.block",
    ]
    assert "NOT_SET" in faults[0]
    assert "s3cret" not in str(caught.value)
    # Set where they are sent, perhaps; what else is wrong is so everywhere.
    with pytest.raises(ConfigError) as caught:
        receivers.check(ws, elsewhere=True)
    assert caught.value.faults == faults[1:]
    assert "NOT_SET is not set here; perdure up needs it" in caplog.text
    for receiver in receivers.configured(ws)[:3]:
        with pytest.raises(Fault, match="notify"):
            receiver.send(Notice(AT, (REFUSED,), ()))


@pytest.mark.parametrize(
    ("occasion", "subject", "command"),
    [
        ("promoted", "weather: version 12 is the champion", "perdure show 12"),
        ("refused", "weather: version 12 was refused", "perdure show 12"),
        ("held", "weather: 000013-1a2b3c4d is held", "perdure status"),
        ("rolled back", "weather: rolled back to version 12", "perdure show 12"),
        ("crashed", "weather: the run None crashed", "perdure doctor"),
    ],
)
def test_every_occasion_has_its_words(occasion: str, subject: str, command: str) -> None:
    message = dataclasses.replace(REFUSED, occasion=occasion)  # type: ignore[arg-type]  # as above
    assert message.subject == subject
    assert "\n" not in message.subject
    assert message.body.splitlines()[0] == f"{subject}."
    assert command in message.body.splitlines()[-1]


def test_the_doctor_looks_at_the_addresses(workspace_with_schema: Path) -> None:
    from perdure.flows.doctor import examine

    root = workspace_with_schema
    found = examine(str(root), notices=receivers.check)
    assert "notices" not in [check.name for check in found]
    with (root / "perdure.toml").open("a") as file:
        file.write('[[notify]]\nkind = "webhook"\nurl = "env:NOT_SET_ANYWHERE"\n')
    found = examine(str(root), notices=receivers.check)
    [notices] = [check for check in found if check.name == "notices"]
    assert not notices.ok
    assert "NOT_SET_ANYWHERE" in notices.detail


@pytest.fixture
def workspace_with_schema(tmp_path: Path) -> Path:
    return kit.make(tmp_path / "workspace")
