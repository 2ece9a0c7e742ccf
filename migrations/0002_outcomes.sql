-- Outcomes by document, and sealed documents.

-- What each document came to lies beside the report, not in it: pages read reports, only statistics read outcomes, and a
-- report with 20,000 numbers in it would be read by every page. `json`, not `jsonb`: it is stored as written, a fifth the size.
ALTER TABLE results ADD COLUMN items json NOT NULL DEFAULT '[]';
UPDATE results SET items = (report->'items')::json, report = report - 'items' WHERE report ? 'items';

-- The documents of a contest whose outcomes are kept from everybody until they are revealed.
CREATE TABLE seals (
    contest_id  text PRIMARY KEY REFERENCES contests ON DELETE CASCADE,
    key         bytea NOT NULL,                        -- chooses the documents; published with the reveal
    digest      text NOT NULL,                         -- of the sealed set, as contest.toml announced it
    documents   jsonb NOT NULL,                        -- task -> indices of its sealed documents
    revealed_at timestamptz
);

-- What was shown cannot be taken back, and what it is checked against must not change afterwards.
CREATE FUNCTION keep_revealed_seal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.revealed_at IS NULL OR NEW IS NOT DISTINCT FROM OLD THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'the sealed documents of contest % are revealed', OLD.contest_id;
END $$;
CREATE TRIGGER seals_keep_revealed BEFORE UPDATE ON seals FOR EACH ROW EXECUTE FUNCTION keep_revealed_seal();
