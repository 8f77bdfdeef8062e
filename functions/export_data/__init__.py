"""The `export-data` job: rows of a table as a file in S3, and a link to it by email."""
