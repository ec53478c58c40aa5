#!/usr/bin/env python3
"""An identity provider for Portcullis over PostgreSQL.

    python3 idp.py --listen 127.0.0.1:8000 --database postgresql:///idp
    python3 idp.py --hash                   # asks for a password, prints its hash
"""

import argparse
import contextlib
import getpass
import json
import secrets
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool, PoolTimeout

QUESTION_BYTES_MAX = 64 * 1024
HASHER = PasswordHasher()
# An unknown user is compared with this one, so that it takes as long as a wrong password.
NOBODY = HASHER.hash(secrets.token_hex())

# One statement is one state of the tables.
USER = """
    SELECT password_hash, role, home_directory,
           ARRAY(SELECT public_key FROM public_keys WHERE user_name = name) AS keys,
           (SELECT json_agg(json_build_object('entry', entry, 'target', target, 'access', access)
                            ORDER BY entry) FROM mappings WHERE user_name = name) AS mappings
    FROM users WHERE name = %s AND enabled
"""


def answer(pool, question):
    name, password = question["username"], question.get("password")
    if not name.isprintable():  # a NUL, say, which no text of PostgreSQL has
        return {"allow": False}
    with pool.connection() as connection:
        user = connection.execute(USER, [name]).fetchone()

    # Only the method decides what is asked. A password that merely looks blank is still one,
    # and must not turn the question into a look-up of keys. Transfer Family's event has no
    # method: there exactly "" means a key look-up.
    look_up = question.get("method", "password" if password else "public-key") == "public-key"
    if not look_up:
        password = (password or "").encode("utf-8", "surrogatepass")  # whatever JSON can hold
        try:
            HASHER.verify(user and user["password_hash"] or NOBODY, password)
        except (VerificationError, InvalidHashError):
            # A hash that is none is a no about its user; an error would be one about everybody.
            return {"allow": False}
    if not user or look_up and not user["keys"]:
        return {"allow": False}
    keys = user["keys"] if look_up else []  # in the answer to a password they would be invalid
    if not user["role"]:
        result = {"allow": True, "mappings": user["mappings"]}
        return {**result, "publicKeys": keys} if keys else result
    if user["home_directory"]:
        home = {"HomeDirectoryType": "PATH", "HomeDirectory": user["home_directory"]}
    else:
        rows = [{"Entry": m["entry"], "Target": m["target"]} for m in user["mappings"] or []]
        home = {"HomeDirectoryType": "LOGICAL", "HomeDirectoryDetails": json.dumps(rows)}
    return {"Role": user["role"], **home, **({"PublicKeys": keys} if keys else {})}


def report(question, result):
    """Logs what was answered about whom, with the id that the gateway's log has too."""
    method = question.get("method", "password" if question.get("password") else "public-key")
    verdict = "allowed" if result.get("allow") or "Role" in result else "denied"
    line = {"requestId": question.get("requestId"), "user": question["username"],
            "method": method, "verdict": verdict}
    print(json.dumps(line), file=sys.stderr, flush=True)


class Webhook(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps the connection for the next question
    timeout = 60
    # Header and body leave in one piece; otherwise the second waits for an acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_POST(self):
        try:
            length = int(self.headers["Content-Length"])
            if not 0 <= length <= QUESTION_BYTES_MAX:
                raise ValueError("length")
            question = json.loads(self.rfile.read(length))
            texts = [question["username"], question.get("password", "")]
            if not all(isinstance(text, str) for text in texts):
                raise ValueError("question")
        except (KeyError, TypeError, ValueError):
            self.close_connection = True
            return self.reply(400, {"error": "not a question"})
        try:
            result = answer(self.server.pool, question)
        except (psycopg.Error, PoolTimeout) as error:
            # No denial: the gateway is to see that this is an outage.
            print(type(error).__name__, file=sys.stderr, flush=True)
            return self.reply(503, {"error": "the database does not answer"})
        report(question, result)
        self.reply(200, result)

    def reply(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format, *args):
        """Logs the request line and the status; the body, with the password, never."""
        print(self.address_string(), format % args, file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser(description="An identity provider over PostgreSQL")
    parser.add_argument("--listen", default="127.0.0.1:8000", help="host:port")
    parser.add_argument("--database", default="postgresql:///idp", help="libpq's URL")
    parser.add_argument("--hash", action="store_true", help="print the hash of a password")
    options = parser.parse_args()
    if options.hash:
        return print(HASHER.hash(getpass.getpass()))
    # Shorter than the gateway waits, so that it hears about an outage instead of timing out.
    pool = ConnectionPool(options.database, min_size=1, max_size=8, timeout=3, open=True,
                          kwargs={"row_factory": dict_row, "autocommit": True},
                          check=ConnectionPool.check_connection)
    host, port = options.listen.rsplit(":", 1)
    ThreadingHTTPServer.request_queue_size = 128  # many may log in at once; the default is five
    server = ThreadingHTTPServer((host, int(port)), Webhook)
    server.pool = pool
    print("listening on http://%s:%d/" % server.server_address[:2], flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


if __name__ == "__main__":
    main()
