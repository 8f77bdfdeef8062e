-- Enqueue one job from any language, in the caller's transaction or from a trigger; the relay
-- publishes it within a minute of the commit. `created` is false where the idempotency key exists:
-- the id is then that of the job that has it; so it is with `unique_key`, while that job waits.
CREATE OR REPLACE FUNCTION stashjobs.enqueue(
    type text, payload jsonb,
    user_id text DEFAULT NULL, organization_id text DEFAULT NULL,
    idempotency_key text DEFAULT NULL, retries integer DEFAULT 3,
    at timestamptz DEFAULT NULL, delay interval DEFAULT NULL,
    metadata jsonb DEFAULT '{}', headers jsonb DEFAULT '{}',
    callback text DEFAULT NULL, failure_callback text DEFAULT NULL,
    max_payload_bytes integer DEFAULT 1000000,
    after text[] DEFAULT NULL, after_when text DEFAULT 'completed',
    unique_key text DEFAULT NULL, unique_while text DEFAULT 'waiting', replace boolean DEFAULT false,
    debounce interval DEFAULT NULL, max_wait interval DEFAULT NULL,
    expires_at timestamptz DEFAULT NULL, batch text DEFAULT NULL
)
RETURNS TABLE (job_id text, created boolean)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT SET enable_seqscan TO off AS $$
#variable_conflict use_variable
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
    due timestamptz := coalesce(at, moment + delay, moment + debounce);
    -- Those of `stashjobs.envelope`.
    max_levels CONSTANT integer := 64;
    max_metadata_bytes CONSTANT integer := 64000;
    max_delivery_bytes CONSTANT integer := 64000;  -- of stashjobs.producer.enqueue
    too_deep CONSTANT jsonpath := 'strict $.**{64} ? (@.type() == "object" || @.type() == "array")';
    too_large CONSTANT jsonpath := 'strict $.** ? (@ >= 1.8e308 || @ <= -1.8e308)';
    wrong text;
    id text;
BEGIN
    wrong := CASE
        WHEN type IS NULL OR type !~ '^[a-z][a-z0-9]*(-[a-z0-9]+)*$'
            THEN format('the type is %L; a type is named like send-email', left(type, 100))
        WHEN octet_length(type) > 1000 THEN 'the type is longer than 1000 bytes'
        WHEN payload IS NULL
            THEN 'the payload is NULL; give JSON (''null'' for a job that takes none)'
        WHEN jsonb_typeof(payload) = 'object' AND payload ? '$sealed'
            THEN 'the payload has the member $sealed, which is reserved for encrypted ones'
        WHEN octet_length(payload::text) > max_payload_bytes
            THEN format('the payload has %s bytes; at most %s are allowed',
                        octet_length(payload::text), max_payload_bytes)
        WHEN jsonb_path_exists(payload, too_deep)
            THEN format('the payload has %s levels of objects and lists; at most %s are allowed',
                        stashjobs.levels_of(payload), max_levels)
        WHEN jsonb_path_exists(payload, too_large)
            THEN 'the payload has a number too large for programs: it must be below 1.8e308'
        WHEN octet_length(user_id) > 1000 THEN 'user_id is longer than 1000 bytes'
        WHEN octet_length(organization_id) > 1000 THEN 'organization_id is longer than 1000 bytes'
        WHEN octet_length(idempotency_key) > 1000 THEN 'idempotency_key is longer than 1000 bytes'
        WHEN idempotency_key = '' THEN 'idempotency_key is empty; leave it out or give it a value'
        WHEN retries IS NULL OR retries NOT BETWEEN 0 AND 1000000
            THEN format('retries is %s; it must be 0 or more', coalesce(retries::text, 'NULL'))
        WHEN at IS NOT NULL AND delay IS NOT NULL THEN 'give delay or at, not both'
        WHEN delay < interval '0' THEN format('delay is %s; it must be 0 or more', delay)
        WHEN due NOT BETWEEN '0001-01-01 00:00Z' AND '9000-01-01 00:00Z'
            THEN format('the job would be due at %s; it must be from 0001 to 9000', due)
        WHEN expires_at <= coalesce(due, moment)
            THEN format('expires_at is %s, which is before the job is due', expires_at)
        WHEN expires_at > '9000-01-01 00:00Z'
            THEN format('expires_at is %s; it must be before 9000', expires_at)
        WHEN jsonb_typeof(metadata) IS DISTINCT FROM 'object' THEN 'metadata is not a JSON object'
        WHEN octet_length(metadata::text) > max_metadata_bytes
            THEN format('metadata has %s bytes; at most %s are allowed',
                        octet_length(metadata::text), max_metadata_bytes)
        WHEN jsonb_path_exists(metadata, too_deep)
            THEN format('metadata has %s levels of objects and lists; at most %s are allowed',
                        stashjobs.levels_of(metadata), max_levels)
        WHEN jsonb_path_exists(metadata, too_large)
            THEN 'metadata has a number too large for programs: it must be below 1.8e308'
        WHEN jsonb_typeof(headers) IS DISTINCT FROM 'object' THEN 'headers is no JSON object'
        WHEN jsonb_path_exists(headers, 'strict $.* ? (@.type() != "string")')
            THEN 'a value in headers is no string'
        WHEN octet_length(concat(headers, callback, failure_callback)) > max_delivery_bytes
            THEN format('headers and callbacks have %s bytes; at most %s are allowed',
                        octet_length(concat(headers, callback, failure_callback)),
                        max_delivery_bytes)
        WHEN after_when IS NULL OR after_when NOT IN ('completed', 'ended')
            THEN format('after_when is %L; it must be completed or ended', after_when)
        WHEN array_position(after, NULL) IS NOT NULL THEN 'after has a NULL; give ids of jobs'
        WHEN octet_length(unique_key) > 1000 THEN 'unique_key is longer than 1000 bytes'
        WHEN unique_key = '' THEN 'unique_key is empty; leave it out or give it a value'
        WHEN unique_while IS NULL OR unique_while NOT IN ('waiting', 'running')
            THEN format('unique_while is %L; it must be waiting or running', unique_while)
        WHEN unique_key IS NULL AND (replace OR debounce IS NOT NULL OR unique_while = 'running')
            THEN 'replace, debounce and unique_while are about a unique_key; give one'
        WHEN debounce IS NOT NULL AND (at IS NOT NULL OR delay IS NOT NULL)
            THEN 'debounce is a delay itself; leave delay and at out'
        WHEN debounce < interval '0' THEN format('debounce is %s; it must be 0 or more', debounce)
        WHEN max_wait IS NOT NULL AND (debounce IS NULL OR max_wait < debounce)
            THEN 'max_wait is for debounce, and at least as long'
        WHEN callback !~ '^https?://' THEN 'callback is no URL'
        WHEN failure_callback !~ '^https?://' THEN 'failure_callback is no URL'
    END;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'stashjobs.enqueue: %', wrong
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- A UUID of version 7 (RFC 9562, section 5.7).
    id := encode(set_bit(set_bit(overlay(
              uuid_send(gen_random_uuid())
              PLACING substring(int8send((extract(epoch FROM moment) * 1000)::bigint) FROM 3)
              FROM 1 FOR 6), 52, 1), 53, 1), 'hex')::uuid::text;
    RETURN QUERY
    SELECT made.job_id, made.job_id = id
      FROM stashjobs.enqueue_many(
               job_ids => ARRAY[id], types => ARRAY[type], payloads => ARRAY[payload],
               max_attempts => ARRAY[retries + 1], available_at => ARRAY[due],
               user_ids => ARRAY[user_id], organization_ids => ARRAY[organization_id],
               idempotency_keys => ARRAY[idempotency_key], metadata => ARRAY[metadata],
               delivery => ARRAY[jsonb_strip_nulls(jsonb_build_object(
                   'headers', nullif(headers, '{}'), 'callback', callback,
                   'failureCallback', failure_callback))],
               after => ARRAY[CASE WHEN cardinality(after) > 0 THEN jsonb_build_object(
                   'ids', to_jsonb(after), 'when', after_when) END],
               uniqueness => ARRAY[CASE WHEN unique_key IS NOT NULL THEN jsonb_build_object(
                   'key', unique_key, 'running', unique_while = 'running',
                   'replace', replace OR debounce IS NOT NULL,
                   'maxWait', extract(epoch FROM max_wait)) END],
               expires_at => ARRAY[enqueue.expires_at],
               batch_ids => CASE WHEN batch IS NULL THEN '{}' ELSE ARRAY[batch] END) AS made;
END
$$;
