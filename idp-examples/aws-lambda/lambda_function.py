"""An identity function in the form that AWS Transfer Family invokes: event in, answer out.

Nothing in it knows of Portcullis; the same file is deployed as a Lambda function.
"""

import base64
import hashlib
import hmac
import json
import os

COST = {"n": 2**14, "r": 8, "p": 1, "dklen": 32}
FOLDER = os.path.dirname(os.path.abspath(__file__))

with open(os.path.join(FOLDER, "users.json"), encoding="utf-8") as file:
    USERS = json.load(file)


def password_is_right(password, stored):
    _, salt, key = stored.split("$")
    found = hashlib.scrypt(password.encode(), salt=base64.b64decode(salt), **COST)
    return hmac.compare_digest(found, base64.b64decode(key))


def lambda_handler(event, context):
    user = USERS.get(event["username"])
    password = event.get("password", "")

    # Transfer Family asks for keys by leaving the password blank.
    if password == "":
        if not user or "PublicKeys" not in user:
            return {}
    else:
        # Any other user's hash takes as long to compare as the right one.
        stored = (user or next(iter(USERS.values())))["PasswordHash"]
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
