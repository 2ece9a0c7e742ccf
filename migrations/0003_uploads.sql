-- Uploads in full: files that need not be sent again, and the lookups that find them.

-- Where a file came from that was never sent: the team's own earlier file, or a public file of the contest's base. Such a
-- file is a link to bytes that are here already, so it costs no quota.
ALTER TABLE submission_files ADD COLUMN origin text CHECK (origin IN ('yours', 'base'));

-- "Does the team have these bytes already?" is asked for every declared file.
CREATE INDEX submission_files_content_idx ON submission_files (sha256_expected, length) WHERE state = 'complete';
-- What the reaper looks through.
CREATE INDEX submission_files_open_idx ON submission_files (expires_at) WHERE state = 'open';
