-- How many objects and lists are in each other; 0 for a text or a number.
CREATE OR REPLACE FUNCTION stashjobs.levels_of(document jsonb)
RETURNS integer
LANGUAGE plpgsql IMMUTABLE
SET search_path FROM CURRENT AS $$
DECLARE
    path CONSTANT text := 'strict $.**{%s} ? (@.type() == "object" || @.type() == "array")';
    fewest integer := 0;
    step integer := 1;
BEGIN
    -- Doubled, then halved: each look reads down to that level.
    WHILE jsonb_path_exists(document, format(path, fewest + step - 1)::jsonpath) LOOP
        fewest := fewest + step;
        step := step * 2;
    END LOOP;
    WHILE step > 1 LOOP
        step := step / 2;
        IF jsonb_path_exists(document, format(path, fewest + step - 1)::jsonpath) THEN
            fewest := fewest + step;
        END IF;
    END LOOP;
    RETURN fewest;
END
$$;
