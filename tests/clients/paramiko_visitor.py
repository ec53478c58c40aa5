"""Logs in with the paramiko of this Python, as the JSON on standard input says; run by
`paramiko_logins.py`."""

import json
import sys

import paramiko

# Longer than any login takes, shorter than paramiko's patience with a server that is silent.
SECONDS_MAX = 20


def main():
    visit = json.load(sys.stdin)
    *wrong, right = visit["passwords"] or [None]
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
    refused = 0
    known = {"auth_timeout": SECONDS_MAX, "look_for_keys": False, "allow_agent": visit["agent"]}
    address = ("127.0.0.1", visit["port"], visit["user"])
    if wrong:
        transport = paramiko.Transport(address[:2])
        transport.auth_timeout = SECONDS_MAX
        transport.start_client()
        for password in wrong:
            try:
                transport.auth_password(visit["user"], password)
            except paramiko.AuthenticationException as error:
                if str(error) != "Authentication failed.":
                    raise
                refused += 1
        transport.auth_password(visit["user"], right)
        sftp = paramiko.SFTPClient.from_transport(transport)
    else:
        client.connect(*address, password=right, key_filename=visit["key"], **known)
        sftp = client.open_sftp()
    sftp.listdir(".")
    sftp.close()
    client.close()
    json.dump({"version": paramiko.__version__, "refused": refused}, sys.stdout)


main()
