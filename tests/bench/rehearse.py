"""How long `portcullis rehearse` takes for a million lines of Transfer Family's older log.

    python3 tests/bench/rehearse.py [--binary target/release/portcullis]
"""

import argparse
import pathlib
import resource
import subprocess
import tempfile
import time

SESSIONS = 100_000
USERS = 5_000
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ"


def lines():
    for session in range(SESSIONS):
        user = f"user{session % USERS:05}"
        said = [f"CONNECTED SourceIP=192.0.2.7 User={user} HomeDir=/b/h Client=SSH-2.0-x"
                " Role=arn:aws:iam::123456789012:role/x Kex=curve25519-sha256"
                " Ciphers=aes128-gcm@openssh.com,aes128-gcm@openssh.com"]
        for file in range(4):
            path = f"/b/h/file{file}.csv"
            said += [f"OPEN Path={path} Mode=CREATE|TRUNCATE|WRITE", f"CLOSE Path={path} BytesIn=9"]
        for words in [*said, "DISCONNECTED"]:
            yield f"{user}.{session:016x} {words}\n"


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--binary", default="target/release/portcullis")
    binary = options.parse_args().binary
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        log, users, config = (folder / name for name in ("log", "users.toml", "portcullis.toml"))
        with log.open("w") as file:
            file.writelines(lines())
        mapping = '[{ entry = "/b/h", target = "/b/h" }]'
        users.write_text("".join(
            f'[users.user{at:05}]\npublic_keys = ["{KEY}"]\nmappings = {mapping}\n'
            for at in range(USERS)))
        config.write_text(f'[identity]\nprovider = "static"\nusers_file = "{users}"\n')
        begun = time.monotonic()
        ran = subprocess.run([binary, "rehearse", "--config", config, log],
                             capture_output=True, text=True, check=False)
        took = time.monotonic() - begun
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(ran.stdout[-400:] + ran.stderr[-400:])
        print(f"{took:.1f} s, {used.ru_utime + used.ru_stime:.1f} s of the processor, "
              f"{used.ru_maxrss / 1024:.0f} MiB at most")


if __name__ == "__main__":
    main()
