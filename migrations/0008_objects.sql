-- Finished files in an object store. Where none is set, nothing here is used: files lie beneath the data folder, as before.

-- What the store is known to hold: a row is written only after length and sha256 of the object were read back.
CREATE TABLE objects (
    key       text COLLATE "C" PRIMARY KEY,            -- the file's path beneath the data folder
    bytes     bigint NOT NULL CHECK (bytes >= 0),
    sha256    text NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT now(),
    seen_at   timestamptz NOT NULL DEFAULT now()       -- when the store listed it last
);

-- Multipart uploads under way. Whatever a crash left of one is aborted before its file is sent again.
CREATE TABLE transfers (
    key       text COLLATE "C" PRIMARY KEY,
    upload_id text NOT NULL,
    begun_at  timestamptz NOT NULL DEFAULT now()
);

-- Where a finished file lies: null means in the data folder, otherwise in this object. A file that the team had sent
-- before is the same object again.
ALTER TABLE submission_files ADD COLUMN stored_as text COLLATE "C" REFERENCES objects;
CREATE INDEX submission_files_stored_idx ON submission_files (stored_as) WHERE stored_as IS NOT NULL;
CREATE INDEX submission_files_staged_idx ON submission_files (id) WHERE stored_as IS NULL AND state = 'complete';

-- The outputs of an accepted result move as a whole.
ALTER TABLE results ADD COLUMN outputs_stored boolean NOT NULL DEFAULT false;
CREATE INDEX results_staged_idx ON results (accepted_at) WHERE NOT outputs_stored;

-- The name an installation writes into its store, so that no other one uses the same place and sweeps it.
CREATE TABLE installation (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    id  uuid NOT NULL DEFAULT gen_random_uuid()
);
INSERT INTO installation DEFAULT VALUES;
