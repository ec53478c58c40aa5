"""Who reads the pages: what they have, what they type, and where a no is what they ask for."""

from terminal import PASSWORD

# What is typed at the prompts of a command.
ANSWERS = {"portcullis hash-password": (PASSWORD, PASSWORD)}

# What a page leaves to its reader.
BLANKS = {
    "AWS_ACCESS_KEY_ID=…": "AWS_ACCESS_KEY_ID=AKIDOPERATOR",
    "AWS_SECRET_ACCESS_KEY=…": "AWS_SECRET_ACCESS_KEY=operator-secret",
    "--user-password …": f"--user-password {PASSWORD}",
}

# Files that a reader of any page has.
FILES = {"password.txt": f"{PASSWORD}\n"}

CONFIGURATION = """\
host_key_files = ["host_key"]
server_id = "s-0123456789abcdef0"

[identity]
provider = "static"
users_file = "users.toml"

[storage]
region = "eu-central-1"
endpoint = "http://127.0.0.1:9000"
path_style = true
access_key_id = "embedded"
secret_access_key = "embedded-secret"

[admin]
access_key_id = "AKIDOPERATOR"
secret_access_key = "operator-secret"
"""
USER = """\
[users.{name}]
{password}public_keys = ["{key}"]
mappings = [{{ entry = "/in", target = "/inbox/{name}" }}]

"""


def a_gateway(terminal):
    """A gateway that runs, as the pages on operation expect; `ann` and `watch` may enter."""
    folder = terminal.folder
    (folder / "password").write_text(f"{PASSWORD}\n")
    (folder / "portcullis.toml").write_text(terminal.here(CONFIGURATION))
    for name in ("host_key", "ann", "key"):
        must(terminal, f"ssh-keygen -q -t ed25519 -N '' -C {name} -f {name}")
    hashed = must(terminal, "portcullis hash-password --password-stdin < password")[0]
    ann, watch = ((folder / name).read_text().strip() for name in ("ann.pub", "key.pub"))
    users = USER.format(name="ann", password=f'password_hash = "{hashed}"\n', key=ann)
    users += USER.format(name="watch", password="", key=watch)
    (folder / "users.toml").write_text(users)
    kind, key, *_ = (folder / "host_key.pub").read_text().split()
    known = f"[127.0.0.1]:2222,sftp.example.com {kind} {key}\n"
    (folder / "known_hosts").write_text(terminal.here(known))
    must(terminal, "cargo run --release -p embedded-s3 -- --bucket inbox &")
    must(terminal, "portcullis serve --config portcullis.toml 2> log &")


def must(terminal, command):
    seen, status = terminal.run(command, lambda _: True)
    if status not in (None, 0):
        raise ValueError(f"{command}: " + "\n".join(seen))
    return seen
