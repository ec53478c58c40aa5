#!/usr/bin/env python3
"""An identity service that can be told to misbehave, as a process of its own.

    python3 service.py --users users.json

GET /counts shows what it was asked; POST /control changes how it answers, from the next question
on. Without any such change it answers every question with 200.
"""

import argparse
import asyncio
import collections
import json
import signal

QUESTION_BYTES_MAX = 64 * 1024
CONVERSATION_SECONDS_MAX = 300


class Service:
    """The users, the way it misbehaves, and what it was asked."""

    def __init__(self, users):
        self.users = users
        self.control = {
            "unknown": 200,  # status for a name that it does not know
            "wrong": 200,  # status for a wrong password
            "poison": 200,  # status for a password with a character of four bytes
            "hangs": [],  # names whose question is never answered
            "statuses": {},  # name to the status of whatever is asked about it
            "delays": {},  # name to seconds
            "unknown_delay": 0,  # seconds for a name that it does not know
            "removed": [],  # names that are denied from now on
        }
        self.questions = []  # [name, method, source, password is the right one, status]
        self.under_way = collections.Counter()
        self.under_way_most = collections.Counter()

    async def answer(self, question):
        """Returns status and body for one question."""
        name, source = question["username"], question.get("sourceIp", "")
        row = [name, question.get("method"), source, self.is_right(question), 0]
        self.questions.append(row)
        with self.counted(source):
            await asyncio.sleep(self.delay(name))
            status, body = self.decide(question)
        row[4] = status
        return status, body

    def counted(self, source):
        return Counted(self, source)

    def delay(self, name):
        if name in self.control["hangs"]:
            return CONVERSATION_SECONDS_MAX
        if name not in self.users:
            return self.control["unknown_delay"]
        return self.control["delays"].get(name, 0)

    def decide(self, question):
        name, control = question["username"], self.control
        password = question.get("password", "")
        if name in control["statuses"]:
            return control["statuses"][name], {"error": "about this user"}
        if any(ord(letter) > 0xFFFF for letter in password) and control["poison"] != 200:
            return control["poison"], {"error": "incorrect string value"}
        if name in control["removed"]:
            return 200, {"allow": False}
        user = self.users.get(name)
        if user is None:
            return refusal(control["unknown"])
        if question.get("method") == "public-key":
            return 200, {**allowed(name), "publicKeys": user["keys"]}
        if not self.is_right(question):
            return refusal(control["wrong"])
        return 200, allowed(name)

    def is_right(self, question):
        user = self.users.get(question["username"])
        return bool(user) and question.get("password") == user["password"]

    def counts(self):
        return {
            "questions": self.questions,
            "under_way_most": max(self.under_way_most.get("", 0), 0),
            "under_way_most_by_source": {
                source: most for source, most in self.under_way_most.items() if source
            },
        }


class Counted:
    """How many questions are under way, in all and by source."""

    def __init__(self, service, source):
        self.service, self.keys = service, ("", source or "?")

    def __enter__(self):
        for key in self.keys:
            self.service.under_way[key] += 1
            most = max(self.service.under_way[key], self.service.under_way_most[key])
            self.service.under_way_most[key] = most

    def __exit__(self, *_):
        for key in self.keys:
            self.service.under_way[key] -= 1


def refusal(status):
    return status, {"allow": False} if status == 200 else {"error": "no"}


def allowed(name):
    return {"allow": True, "mappings": [{"entry": "/", "target": f"/attacks/{name}"}]}


async def converse(service, reader, writer):
    """Answers the requests of one connection."""
    try:
        while head := await read_head(reader):
            method, path, length = head
            body = await reader.readexactly(length)
            # Whoever asked may be gone before the answer: the question ends with the connection.
            answer = asyncio.ensure_future(respond(service, method, path, body))
            gone = asyncio.ensure_future(closed(reader))
            await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
            gone.cancel()
            if not answer.done():
                answer.cancel()
                break
            status, result = answer.result()
            text = json.dumps(result).encode()
            writer.write(
                b"HTTP/1.1 %d x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                % (status, len(text), text)
            )
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError, ValueError):
        pass
    finally:
        writer.close()


async def closed(reader):
    """Waits until the other side has closed; it says nothing while a question is under way."""
    while not reader.at_eof():
        await asyncio.sleep(0.02)


async def read_head(reader):
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    lines = head.decode("latin-1").split("\r\n")
    method, path, _ = lines[0].split(" ", 2)
    length = 0
    for line in lines[1:]:
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            length = int(value)
    if not 0 <= length <= QUESTION_BYTES_MAX:
        raise ValueError("length")
    return method, path, length


async def respond(service, method, path, body):
    if method == "GET":
        return 200, service.counts()
    if path == "/control":
        service.control.update(json.loads(body))
        return 200, {}
    return await service.answer(json.loads(body))


async def main():
    parser = argparse.ArgumentParser(description="An identity service that can misbehave")
    parser.add_argument("--users", required=True, help="name to password and keys, as JSON")
    options = parser.parse_args()
    with open(options.users, encoding="utf-8") as file:
        service = Service(json.load(file))
    server = await asyncio.start_server(
        lambda reader, writer: converse(service, reader, writer), "127.0.0.1", 0, backlog=1024
    )
    print("listening on http://127.0.0.1:%d/" % server.sockets[0].getsockname()[1], flush=True)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()


if __name__ == "__main__":
    asyncio.run(main())
