"""Addresses as they may be shown and written down: without what is secret in them."""

from __future__ import annotations

from urllib.parse import urlsplit


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
