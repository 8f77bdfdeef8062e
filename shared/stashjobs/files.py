"""Files in S3: the bucket that `FILES_BUCKET` names, written in a stream, read by an expiring link.

What is where: `archive/` what the clean-up took out of Postgres, `exports/` and `reports/` what
people download. boto3 is imported at the first use.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from stashjobs.config import settings

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

# S3 takes parts of 5 MiB or more, and 10,000 of them (S3 User Guide, "Amazon S3 multipart upload
# limits"): 80 GB in all, while one part is in memory.
PART_BYTES = 8 * 1024 * 1024
# The longest that Signature Version 4 allows (S3 API Reference, "Authenticating Requests: Using
# Query Parameters", X-Amz-Expires).
MAX_LINK_SECONDS = 7 * 24 * 3600
# A link that was signed with a role's temporary credentials ends with them, whatever it says (S3
# User Guide, "Download and upload objects with presigned URLs"). Those of a Lambda live for hours,
# and no one is told how many; one hour is safe.
ROLE_LINK_SECONDS = 3600

_client: Any = None


@dataclass(frozen=True, slots=True)
class Link:
    """Where to download a file, and until when (UTC)."""

    url: str
    expires_at: datetime


def client() -> Any:
    """The process's S3 client. `AWS_ENDPOINT_URL_S3` leads it elsewhere, as in a local run."""
    global _client  # noqa: PLW0603 - this module is the client's one owner
    if _client is None:
        import boto3
        from botocore.config import Config

        _client = boto3.client("s3", config=_config(Config))
    return _client


def close() -> None:
    """Close the client's connections. The next use makes a new one."""
    global _client  # noqa: PLW0603
    if _client is not None:
        _client.close()
        _client = None


def bucket() -> str:
    """The bucket of this stage.

    Raises:
        SettingError: `FILES_BUCKET` is missing.
    """
    return settings.require("FILES_BUCKET")


def put(key: str, content: bytes, content_type: str) -> None:
    """Write a whole file; one that has this key already is replaced.

    Raises:
        SettingError: `FILES_BUCKET` is missing.
        botocore.exceptions.ClientError: S3 refused.
        botocore.exceptions.BotoCoreError: S3 cannot be reached.
    """
    target = bucket()
    client().put_object(Bucket=target, Key=key, Body=content, ContentType=content_type)


class Upload:
    """A file that is written in a stream: `with Upload(key, type) as upload: upload.write(...)`.

    At most one part is in memory. The file is there, all of it, when the block has been left; where
    the block raises, the parts are given up and there is no file, or still the one before.

    Attributes:
        size: The bytes written so far.
    """

    def __init__(self, key: str, content_type: str) -> None:
        self.key = key
        self.size = 0
        self._target = {"Bucket": bucket(), "Key": key}
        self._content_type = content_type
        self._buffer = bytearray()
        self._upload_id: str | None = None
        self._parts: list[dict[str, Any]] = []

    def write(self, content: bytes) -> None:
        """Add to the end of the file."""
        self.size += len(content)
        self._buffer += content
        while len(self._buffer) >= PART_BYTES:
            self._send(bytes(self._buffer[:PART_BYTES]))
            del self._buffer[:PART_BYTES]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._abort()
            return
        try:
            self._complete()
        except BaseException:
            self._abort()
            raise

    def _send(self, part: bytes) -> None:
        if self._upload_id is None:
            begun = client().create_multipart_upload(**self._target, ContentType=self._content_type)
            self._upload_id = begun["UploadId"]
        number = len(self._parts) + 1
        sent = client().upload_part(
            **self._target, UploadId=self._upload_id, PartNumber=number, Body=part
        )
        self._parts.append({"ETag": sent["ETag"], "PartNumber": number})

    def _complete(self) -> None:
        if self._upload_id is None:
            put(self.key, bytes(self._buffer), self._content_type)
            return
        if self._buffer:
            self._send(bytes(self._buffer))
        client().complete_multipart_upload(
            **self._target, UploadId=self._upload_id, MultipartUpload={"Parts": self._parts}
        )

    def _abort(self) -> None:
        """What a killed process leaves behind, the bucket's lifecycle rule takes away."""
        if self._upload_id is not None:
            client().abort_multipart_upload(**self._target, UploadId=self._upload_id)


def link(key: str, *, file_name: str, seconds: float) -> Link:
    """A link that downloads a file, without a login.

    It is signed by the user `FILES_LINK_KEY_ID` and `FILES_LINK_SECRET` where these are set; else
    by the process's own credentials, which in a Lambda bounds it to `ROLE_LINK_SECONDS`.

    Args:
        key: The file's.
        file_name: What the browser calls it.
        seconds: For how long, at most `MAX_LINK_SECONDS`.
    """
    key_id = settings.optional("FILES_LINK_KEY_ID")
    if key_id is None and os.environ.get("AWS_SESSION_TOKEN"):
        seconds = min(seconds, ROLE_LINK_SECONDS)
    seconds = int(min(seconds, MAX_LINK_SECONDS))
    signer = client() if key_id is None else _link_client(key_id)
    disposition = f"attachment; filename*=UTF-8''{quote(file_name)}"
    expires_at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=seconds)
    url: str = signer.generate_presigned_url(
        "get_object",
        Params={"Bucket": bucket(), "Key": key, "ResponseContentDisposition": disposition},
        ExpiresIn=seconds,
    )
    return Link(url, expires_at)


def _link_client(key_id: str) -> Any:
    import boto3
    from botocore.config import Config

    # Of a session of its own: the process's session token would be signed along with it.
    session = boto3.Session(
        aws_access_key_id=key_id, aws_secret_access_key=settings.require("FILES_LINK_SECRET")
    )
    return session.client("s3", config=_config(Config))


def _config(make: Any) -> Any:
    # A link must be of the bucket's own region (S3 redirects others for days after a bucket is
    # made, and a redirect breaks the signature), which is what "regional" and s3v4 give.
    return make(
        signature_version="s3v4",
        s3={"addressing_style": "auto", "us_east_1_regional_endpoint": "regional"},
        connect_timeout=5,
        read_timeout=30,
        retries={"mode": "standard", "total_max_attempts": 4},
    )
