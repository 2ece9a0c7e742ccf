-- Accounts and their safety: what a person sees of their sessions, links sent by mail, and a record nobody can rewrite.

-- A session is named by its id on the page that lists it: the token itself never leaves the cookie.
ALTER TABLE sessions ADD COLUMN id uuid NOT NULL DEFAULT gen_random_uuid();
CREATE UNIQUE INDEX sessions_id_key ON sessions (id);
ALTER TABLE sessions ADD COLUMN device text NOT NULL DEFAULT '';  -- a few words made from User-Agent, never the header itself
ALTER TABLE sessions ADD COLUMN network text NOT NULL DEFAULT ''; -- truncated: a /24 or a /56

ALTER TABLE users ADD COLUMN email_verified_at timestamptz;        -- null: nobody has shown that the address is theirs
ALTER TABLE users ADD COLUMN password_changed_at timestamptz;

-- Links sent by mail. A sign-up makes no account before its link was used, so nobody can sit on another's address.
CREATE TABLE mail_links (
    token_sha256 bytea PRIMARY KEY,                    -- the mail holds the token, the table only its digest
    kind         text NOT NULL CHECK (kind IN ('signup', 'reset')),
    user_id      uuid REFERENCES users ON DELETE CASCADE,
    email        text NOT NULL,
    name         text NOT NULL DEFAULT '',             -- as typed at sign-up
    locale       text NOT NULL DEFAULT 'en' CHECK (locale IN ('en', 'ko')),
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,
    used_at      timestamptz,
    CHECK ((kind = 'reset') = (user_id IS NOT NULL))
);
CREATE INDEX mail_links_user_id_idx ON mail_links (user_id);
CREATE INDEX mail_links_email_idx ON mail_links (lower(email));

ALTER TABLE audit_log ADD COLUMN network text NOT NULL DEFAULT ''; -- the actor's address, truncated to a /24 or a /56
ALTER TABLE audit_log ADD COLUMN before jsonb;
ALTER TABLE audit_log ADD COLUMN after jsonb;
CREATE INDEX audit_log_object_idx ON audit_log (object, id DESC);
CREATE INDEX audit_log_actor_idx ON audit_log (actor, id DESC);

-- Whoever can write through the application can add to the record, and can neither change nor remove what it says.
CREATE FUNCTION keep_audit_log() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log only grows: % is refused', TG_OP;
END $$;
CREATE TRIGGER audit_log_keep BEFORE UPDATE OR DELETE ON audit_log FOR EACH ROW EXECUTE FUNCTION keep_audit_log();
CREATE TRIGGER audit_log_keep_all BEFORE TRUNCATE ON audit_log FOR EACH STATEMENT EXECUTE FUNCTION keep_audit_log();
