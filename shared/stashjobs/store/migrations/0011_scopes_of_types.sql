-- A scope may name a job type: `enqueue:export-data`.

ALTER TABLE access_tokens DROP CONSTRAINT IF EXISTS access_tokens_scopes_check;
ALTER TABLE access_tokens ADD CONSTRAINT access_tokens_scopes_check CHECK (
    array_to_string(scopes, ',', '')
      ~ '^(enqueue(:[a-z0-9]+(-[a-z0-9]+)*)?|read|operate)(,(enqueue(:[a-z0-9]+(-[a-z0-9]+)*)?|read|operate))*$');
