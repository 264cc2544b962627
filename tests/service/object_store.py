"""An object store: moto's S3, over HTTP."""

from __future__ import annotations

from pathlib import Path

from moto.server import ThreadedMotoServer


def serve(port: int = 0) -> ThreadedMotoServer:
    """A store on a port of this machine, empty."""
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    return server


def environment(
    server: ThreadedMotoServer, folder: Path, key: str = "key", secret: str = "secret"
) -> dict[str, str]:
    """What finds the store, and nothing of the user's own."""
    return {
        "AWS_ENDPOINT_URL": "http://{}:{}".format(*server.get_host_and_port()),
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(folder / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "none"),
        "AWS_MAX_ATTEMPTS": "1",
    }
