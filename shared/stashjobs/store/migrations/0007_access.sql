-- Who may use the HTTP API, what they did, and how often.

CREATE TABLE access_tokens (
    name        text PRIMARY KEY,            -- how a person tells tokens apart; never secret
    token_hash  bytea NOT NULL UNIQUE,       -- SHA-256 of the token, which itself is nowhere
    scopes      text[] NOT NULL CHECK (scopes <@ ARRAY['enqueue', 'read', 'operate']
                                       AND cardinality(scopes) > 0),
    per_minute  integer NOT NULL DEFAULT 600 CHECK (per_minute > 0),
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz,
    revoked_at  timestamptz
);

-- One row per token and minute; a counter needs no history, so the row is used again.
CREATE UNLOGGED TABLE access_rates (
    name    text PRIMARY KEY,
    minute  timestamptz NOT NULL,
    used    integer NOT NULL
);

CREATE TABLE access_log (
    access_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          timestamptz NOT NULL DEFAULT now(),
    actor       text,                        -- the token's name; NULL: nobody was known
    method      text NOT NULL,
    path        text NOT NULL,
    outcome     text NOT NULL CHECK (outcome IN ('allowed', 'unknown', 'forbidden', 'limited')),
    source_ip   text,
    request_id  text
);

CREATE INDEX idx_access_log_at ON access_log (at DESC);
