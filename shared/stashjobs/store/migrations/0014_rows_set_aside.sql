-- Why the clean-up set this batch's one row aside; NULL: the batch is on its way to the archive.
ALTER TABLE archive_batches ADD COLUMN IF NOT EXISTS error text;
