CREATE TABLE users (
    name text PRIMARY KEY CHECK (name <> ''),
    password_hash text CHECK (password_hash LIKE '$argon2id$%'), -- idp.py --hash; NULL: keys only
    enabled boolean NOT NULL DEFAULT true,
    role text, -- this and the next only for an answer in Transfer Family's form
    home_directory text CHECK (home_directory IS NULL OR role IS NOT NULL)
);

CREATE TABLE public_keys (
    user_name text NOT NULL REFERENCES users ON DELETE CASCADE,
    public_key text NOT NULL,
    PRIMARY KEY (user_name, public_key)
);

CREATE TABLE mappings (
    user_name text NOT NULL REFERENCES users ON DELETE CASCADE,
    entry text NOT NULL CHECK (entry LIKE '/%'),
    target text NOT NULL CHECK (target LIKE '/_%'),
    access text NOT NULL DEFAULT 'read-write' CHECK (access IN ('read', 'write', 'read-write')),
    PRIMARY KEY (user_name, entry)
);
