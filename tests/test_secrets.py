"""No secret of an address is ever shown."""

from __future__ import annotations

import pytest

from perdure.secrets import in_text, without_secrets


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://ada:s3cret@example.org:8080/a/b", "https://example.org:8080/a/b"),
        ("https://t0ken@example.org/repo.git", "https://example.org/repo.git"),
        ("https://example.org/api?key=s3cret", "https://example.org/api"),
        ("https://ada:s3%40c:ret@[::1]:5000/", "https://[::1]:5000/"),
        ("https://ada:s3c@ret@example.org/", "https://example.org/"),
        ("ssh://git@example.org/repo.git", "ssh://git@example.org/repo.git"),
        ("ssh://git:s3cret@example.org/repo.git", "ssh://git@example.org/repo.git"),
        ("postgresql+psycopg://ada:s3cret@db/mlflow", "postgresql+psycopg://ada@db/mlflow"),
        ("git@example.org:repo.git", "git@example.org:repo.git"),
        ("s3://bucket/folder", "s3://bucket/folder"),
        ("sqlite:////srv/model/.perdure/mlflow.db", "sqlite:////srv/model/.perdure/mlflow.db"),
        ("/srv/remote?.git", "/srv/remote?.git"),
        ("https://ada:s3cret@[::1/", "an address that cannot be read"),
        ("", ""),
    ],
)
def test_what_is_shown(address: str, shown: str) -> None:
    assert without_secrets(address) == shown


def test_addresses_within_a_text() -> None:
    result = (
        "fatal: unable to access 'https://ada:s3cret@example.org/x.git/': Failed; see (s3://b/c)"
    )
    assert in_text(result) == (
        "fatal: unable to access 'https://example.org/x.git/': Failed; see (s3://b/c)"
    )
    assert in_text("/srv/a and git@example.org:b.git") == "/srv/a and git@example.org:b.git"
