-- Delete lines of the access log, and return them, for the archive. Only those of at least a day ago.
CREATE OR REPLACE FUNCTION stashjobs.take_accesses(access_ids bigint[])
RETURNS SETOF access_log
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT SET enable_seqscan TO off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    DELETE FROM access_log AS line
     WHERE line.access_id = ANY(take_accesses.access_ids)
       AND line.at < clock_timestamp() - interval '1 day'
    RETURNING line.*;
END
$$;
