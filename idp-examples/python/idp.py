#!/usr/bin/env python3
"""An identity provider for Portcullis: one file, standard library only.

    python3 idp.py --listen 127.0.0.1:8000 --users users.json
    python3 idp.py --hash                   # asks for a password, prints its hash
"""

import argparse
import base64
import getpass
import hashlib
import hmac
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

QUESTION_BYTES_MAX = 64 * 1024
COST = {"n": 2**14, "r": 8, "p": 1}


def hash_password(password, salt=None):
    salt = salt or os.urandom(16)
    # Whatever JSON can hold has a hash.
    key = hashlib.scrypt(password.encode("utf-8", "surrogatepass"), salt=salt, dklen=32, **COST)
    return "scrypt$%s$%s" % tuple(base64.b64encode(part).decode() for part in (salt, key))


# An unknown user is compared with this one, so that it takes as long as a wrong password.
NOBODY = hash_password(base64.b64encode(os.urandom(32)).decode())


def password_is_right(password, stored):
    try:
        scheme, salt, _ = stored.split("$")
        found = hash_password(password, base64.b64decode(salt))
    except ValueError:
        scheme = ""
    if scheme != "scrypt":
        # One user's record is wrong. That is a no about this user: an error would say that nobody
        # can log in.
        print("a stored password is no hash: idp.py --hash", file=sys.stderr, flush=True)
        return False
    return hmac.compare_digest(found, stored)


def answer(users, question):
    """Returns the answer to one question; `users` is the parsed users.json."""
    user = users.get(question["username"])
    denial = {} if user and user.get("form") == "transfer-family" else {"allow": False}
    password = question.get("password")

    # Only the method decides what is asked. A password that merely looks blank is still one,
    # and must not turn the question into a look-up of keys. Transfer Family's event has no
    # method: there exactly "" means a key look-up.
    if question.get("method", "password" if password else "public-key") == "public-key":
        if not user or not user.get("publicKeys"):
            return denial
        keys = user["publicKeys"]
    else:
        # Who has keys only has no hash: any password is wrong.
        stored = (user or {}).get("passwordHash") or NOBODY
        if not password_is_right(password or "", stored) or not user:
            return denial
        keys = None  # keys in the answer to a password would make it invalid

    if user.get("form") == "transfer-family":
        result = {"Role": user["role"], "HomeDirectoryType": user["homeDirectoryType"]}
        if user["homeDirectoryType"] == "LOGICAL":
            rows = [{"Entry": m["entry"], "Target": m["target"]} for m in user["mappings"]]
            result["HomeDirectoryDetails"] = json.dumps(rows)  # a string that holds JSON
        else:
            result["HomeDirectory"] = user["homeDirectory"]
        if keys:
            result["PublicKeys"] = keys
        return result

    result = {"allow": True, "mappings": user["mappings"]}
    if "home" in user:
        result["home"] = user["home"]
    if keys:
        result["publicKeys"] = keys
    return result


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
            if not isinstance(question, dict) or not isinstance(question.get("username"), str):
                raise ValueError("question")
            if not isinstance(question.get("password", ""), str):
                raise ValueError("password")
        except (TypeError, ValueError):
            self.close_connection = True
            return self.reply(400, {"error": "not a question"})
        result = answer(self.server.users, question)
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
    parser = argparse.ArgumentParser(description="An identity provider for Portcullis")
    parser.add_argument("--listen", default="127.0.0.1:8000", help="host:port")
    parser.add_argument("--users", default="users.json", help="the users, as JSON")
    parser.add_argument("--hash", action="store_true", help="print the hash of a password")
    options = parser.parse_args()
    if options.hash:
        return print(hash_password(getpass.getpass()))
    with open(options.users, encoding="utf-8") as file:
        users = json.load(file)
    host, port = options.listen.rsplit(":", 1)
    # Many may log in at once; the default lets five wait.
    ThreadingHTTPServer.request_queue_size = 128
    server = ThreadingHTTPServer((host, int(port)), Webhook)
    server.users = users
    print("listening on http://%s:%d/" % server.server_address[:2], flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
