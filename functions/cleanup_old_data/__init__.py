"""The `cleanup-old-data` job: what is past its retention moves to the archive in S3."""
