"""An identity function in the form that AWS Transfer Family invokes: event in, answer out.

Nothing in it knows of Portcullis; the same file is deployed as a Lambda function.
"""

import base64
import hashlib
import hmac
import json
import os
import sys

COST = {"n": 2**14, "r": 8, "p": 1, "dklen": 32}
FOLDER = os.path.dirname(os.path.abspath(__file__))

with open(os.path.join(FOLDER, "users.json"), encoding="utf-8") as file:
    USERS = json.load(file)


# Compared in place of a hash that is not there, so that this takes as long as a wrong password.
NOBODY = "scrypt$%s$%s" % ((base64.b64encode(os.urandom(32)).decode(),) * 2)


def password_is_right(password, stored):
    _, salt, key = stored.split("$")
    password = password.encode("utf-8", "surrogatepass")  # whatever JSON can hold
    found = hashlib.scrypt(password, salt=base64.b64decode(salt), **COST)
    return hmac.compare_digest(found, base64.b64decode(key))


def lambda_handler(event, context):
    answer = answer_to(event)
    # The event holds the password, and is never logged as a whole.
    verdict = "allowed" if answer else "denied"
    line = {"requestId": context.aws_request_id, "user": event["username"], "verdict": verdict}
    print(json.dumps(line), file=sys.stderr, flush=True)
    return answer


def answer_to(event):
    user = USERS.get(event["username"])
    password = event.get("password") or ""

    # Transfer Family asks for keys by leaving the password blank.
    if password == "":
        if not user or not user.get("PublicKeys"):
            return {}
    else:
        # A user with keys only has no hash: any password is wrong, and that is a no, not an error.
        stored = (user or {}).get("PasswordHash") or NOBODY
        if not password_is_right(password, stored) or not user:
            return {}

    answer = {"Role": user["Role"], "HomeDirectoryType": user["HomeDirectoryType"]}
    if user["HomeDirectoryType"] == "LOGICAL":
        answer["HomeDirectoryDetails"] = json.dumps(user["HomeDirectoryDetails"])
    else:
        answer["HomeDirectory"] = user["HomeDirectory"]
    if password == "":
        answer["PublicKeys"] = user["PublicKeys"]
    return answer
