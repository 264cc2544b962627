"""Addresses as they may be shown and written down: without what is secret in them."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")


def without_secrets(address: str) -> str:
    """An address without password and query, and of HTTP without a user, who may be a token.

    What is no URL, such as a path, stays as it is.
    """
    try:
        parts = urlsplit(address)
        user, password = parts.username, parts.password
    except ValueError:  # such as a bracket that is not closed
        return "an address that cannot be read"
    if user is not None or password is not None:
        host = parts.netloc.rpartition("@")[2]
        keeps_user = user and parts.scheme not in {"http", "https"}
        parts = parts._replace(netloc=f"{user}@{host}" if keeps_user else host)
    return parts._replace(query="").geturl() if parts.netloc else address


def in_text(text: str) -> str:
    """A text, such as another program's message, with each address in it `without_secrets`."""
    return _ADDRESS.sub(lambda found: without_secrets(found[0]), text)
