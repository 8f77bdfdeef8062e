"""A bucket as a test sees it."""

from __future__ import annotations

import gzip
import json
from typing import Any

from stashjobs import files


class Bucket:
    """What is in the bucket of the settings, through real requests to S3."""

    def keys(self, prefix: str = "") -> list[str]:
        found: list[str] = []
        pages = files.client().get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=files.bucket(), Prefix=prefix):
            found += [each["Key"] for each in page.get("Contents", [])]
        return found

    def read(self, key: str) -> bytes:
        content: bytes = files.client().get_object(Bucket=files.bucket(), Key=key)["Body"].read()
        return content

    def content_type(self, key: str) -> str:
        kind: str = files.client().head_object(Bucket=files.bucket(), Key=key)["ContentType"]
        return kind

    def archived(self) -> list[dict[str, Any]]:
        """Every row of every object of the archive."""
        return [
            json.loads(line)
            for key in self.keys("archive/")
            for line in gzip.decompress(self.read(key)).decode().splitlines()
        ]

    def unfinished_uploads(self) -> int:
        found = files.client().list_multipart_uploads(Bucket=files.bucket())
        return len(found.get("Uploads", []))

    def clear(self) -> None:
        if keys := self.keys():
            for start in range(0, len(keys), 1000):
                some = [{"Key": key} for key in keys[start : start + 1000]]
                files.client().delete_objects(Bucket=files.bucket(), Delete={"Objects": some})
