"""Changing a host key under OpenSSH's eyes, as docs/operations.md describes it."""

import shutil

from cases import Skipped, case, expect, expect_equal
from processes import Server, answers, free_port, run


@case("OpenSSH: a host key is replaced without a warning")
def replaced(setup, _):
    if not setup.key:
        raise Skipped("the user of this set-up has no key")
    directory = setup.folder("host-keys")
    old, new = new_key(directory / "old"), new_key(directory / "new")
    used = directory / "used"
    shutil.copy(old, used)
    port, admin = free_port(), free_port()
    text = (setup.directory / "portcullis.toml").read_text()
    text = text.replace(f"127.0.0.1:{setup.port}", f"127.0.0.1:{port}")
    text = text.replace(f"127.0.0.1:{setup.admin}", f"127.0.0.1:{admin}")
    config = directory / "portcullis.toml"
    config.write_text(
        f'host_key_files = ["{used}"]\n{text}\n[ssh]\nhost_key_next_files = ["{new}"]\n'
    )
    known_hosts = directory / "known_hosts"
    known_hosts.write_text(f"[127.0.0.1]:{port} {public(old)}\n")
    with Server("rotating", [setup.binary, "serve", "--config", config], directory) as server:
        server.until(lambda: answers(f"http://127.0.0.1:{admin}/readyz"))
        visit(setup, port, known_hosts)
        known = known_hosts.read_text()
        expect(public(old) in known and public(new) in known, f"both keys are known: {known}")
        shutil.copy(new, directory / "moving")
        (directory / "moving").replace(used)
        shown = ["ssh-keyscan", "-t", "ed25519", "-p", port, "127.0.0.1"]
        server.until(lambda: public(new) in run(shown).output)
        visit(setup, port, known_hosts)
        expect_equal(public(old) in known_hosts.read_text(), False, "the old key is known")


def new_key(path):
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path])
    return path


def public(path):
    return path.with_suffix(".pub").read_text().strip()


def visit(setup, port, known_hosts):
    """Lists the root, trusting no key that is not known."""
    options = ["StrictHostKeyChecking=yes", "UpdateHostKeys=yes", f"UserKnownHostsFile={known_hosts}"]
    arguments = [f"-o{option}" for option in options]
    batch = known_hosts.with_name("batch")
    batch.write_text("ls\n")
    run(
        ["sftp", "-q", "-P", port, "-i", setup.key, "-oIdentitiesOnly=yes", *arguments]
        + ["-b", batch, f"{setup.user}@127.0.0.1"]
    )
