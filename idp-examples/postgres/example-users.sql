-- For trying out: the passwords are alice-secret, bob-secret and carol-secret; dave has a key only.
INSERT INTO users (name, password_hash, role, home_directory) VALUES
    ('alice',
     '$argon2id$v=19$m=65536,t=3,p=4$NQJoy2e6ZUftNLZ2vFhSeQ$NlRrDwWOUf+y73OJjf6aReD5AQopmUTD93IkR2xJX3o',
     NULL, NULL),
    ('bob',
     '$argon2id$v=19$m=65536,t=3,p=4$N0Yatrrq5JLTx5OeD5pPWg$h81mtWbScrZs9hPU6EvYd5RzxxSFokQU0IG2sHFgftQ',
     'arn:aws:iam::123456789012:role/transfer-access-role', NULL),
    ('carol',
     '$argon2id$v=19$m=65536,t=3,p=4$dPGtYfNm2IGuFXinutYufg$SvPQPWFxtCp8X0jjhEITRbP23XQRPdrUOaNLOEPZhI0',
     'arn:aws:iam::123456789012:role/transfer-access-role', '/my-bucket/carol'),
    ('dave', NULL, NULL, NULL);

INSERT INTO public_keys (user_name, public_key) VALUES
    ('alice',
     'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS example'),
    ('bob',
     'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS example'),
    ('dave',
     'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS example');

INSERT INTO mappings (user_name, entry, target, access) VALUES
    ('alice', '/in', '/my-bucket/alice/in', 'write'),
    ('alice', '/out', '/my-bucket/alice/out', 'read'),
    ('bob', '/', '/my-bucket/${transfer:UserName}', 'read-write'),
    ('dave', '/in', '/my-bucket/dave', 'read-write');
