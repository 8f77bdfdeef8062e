"""S3 on one machine: moto's server, started at the first connection.

It is a program of its own (`python -m infra.local.s3 HANDLE BUCKET`). What is stored is in that
program's memory, and gone when the stack stops.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from infra.local.on_demand import OnDemand
from infra.local.own_site import guarded

if TYPE_CHECKING:
    from pathlib import Path

ACCOUNT = "123456789012"
BUCKET = "stashjobs-local"


class S3(OnDemand):
    """A bucket behind S3's HTTP API.

    Args:
        root: The repository.
        port: 0 chooses a free one.
        log_file: Where the server writes what it has to say.
    """

    def __init__(self, root: Path, port: int, log_file: Path) -> None:
        super().__init__("infra.local.s3", root, port, log_file)
        self.arguments = [BUCKET]

    @property
    def environment(self) -> dict[str, str]:
        """The settings that lead boto3 here."""
        return {
            "FILES_BUCKET": BUCKET,
            "AWS_ENDPOINT_URL_S3": self.url,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
        }


def serve(handle: int, bucket: str) -> None:
    """Answer on the listening socket `handle` until the process is killed."""
    import logging

    from moto.moto_server.werkzeug_app import create_backend_app
    from moto.s3.models import s3_backends
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    backend: Any = s3_backends[ACCOUNT]["aws"]
    backend.create_bucket(bucket, "us-east-1")
    app = create_backend_app("s3")
    make_server("127.0.0.1", 0, guarded(app), threaded=True, fd=handle).serve_forever()


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2])
