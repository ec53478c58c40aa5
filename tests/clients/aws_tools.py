"""AWS's own command line and boto3, asking the admin port about an identity provider."""

import json
import os
import pathlib
import sys

import boto3
import botocore.exceptions

from cases import Skipped, case, expect, expect_equal
from gateway import ADMIN_ACCESS_KEY, ADMIN_SECRET_KEY, PASSWORD, SERVER_ID
from processes import run


def admin(setup):
    """Where the admin port is; only a configured gateway has one."""
    if setup.admin is None:
        raise Skipped("no admin port")
    return f"http://127.0.0.1:{setup.admin}"


def command_line(setup, *arguments):
    """Runs `aws transfer test-identity-provider` and reads what it prints."""
    # The package's own script, wherever it was installed.
    aws = pathlib.Path(sys.executable).with_name("aws")
    environment = {
        "AWS_ACCESS_KEY_ID": ADMIN_ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": ADMIN_SECRET_KEY,
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_CONFIG_FILE": os.devnull,
    }
    said = run(
        [aws, "transfer", "test-identity-provider", "--endpoint-url", admin(setup),
         "--output", "json", *arguments],
        environment=environment,
    )
    return json.loads(said.output)


def transfer(setup, secret=ADMIN_SECRET_KEY, key=ADMIN_ACCESS_KEY):
    return boto3.client(
        "transfer",
        endpoint_url=admin(setup),
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
    )


def refused(client, **request):
    """The code of the error that a request ends in."""
    try:
        client.test_identity_provider(**request)
    except botocore.exceptions.ClientError as error:
        return error.response["Error"]["Code"]
    return None


@case("aws: test-identity-provider with the right and a wrong password")
def passwords(setup, _):
    who = ["--server-id", SERVER_ID, "--user-name", "bob", "--user-password"]
    right = command_line(setup, *who, PASSWORD, "--source-ip", "203.0.113.7")
    expect_equal((right["StatusCode"], right["Message"]), (200, ""), "right password")
    answer = json.loads(right["Response"])
    expect_equal(answer["HomeDirectoryType"], "LOGICAL", "the answer as the provider gave it")
    expect("Role" in answer and right["Url"].startswith("http://127.0.0.1:"), f"{right}")
    wrong = command_line(setup, *who, "not it")
    expect_equal((wrong["StatusCode"], wrong["Message"]), (200, ""), "wrong password")
    expect("Role" not in wrong["Response"], f"{wrong}")


@case("boto3: a look-up of keys, and errors as AWS names them")
def errors(setup, _):
    client = transfer(setup)
    found = client.test_identity_provider(ServerId=SERVER_ID, UserName="bob")
    expect("ssh-ed25519" in found["Response"], f"{found}")
    known = {"ServerId": SERVER_ID, "UserName": "bob"}
    for error, asked, request in (
        ("ResourceNotFoundException", client, {**known, "ServerId": "s-00000000000000000"}),
        ("InvalidRequestException", client, {**known, "ServerProtocol": "FTP"}),
        ("InvalidSignatureException", transfer(setup, secret="another"), known),
        ("UnrecognizedClientException", transfer(setup, key="AKIDANOTHER"), known),
    ):
        expect_equal(refused(asked, **request), error, f"{request}")
    for call, code in (
        (client.list_connectors, "UnknownOperationException"),
        # The key of the set-up may test logins and nothing else.
        (client.list_servers, "AccessDeniedException"),
    ):
        try:
            call()
        except botocore.exceptions.ClientError as error:
            expect_equal(error.response["Error"]["Code"], code, f"{call}")
        else:
            raise AssertionError(f"{call} was answered")


@case("botocore: the model of AWS's API is the one that the tests compare with")
def model(_setup, _):
    folder = pathlib.Path(__file__).parent.parent / "fixtures/aws"
    sys.path.insert(0, str(folder))
    try:
        from excerpt import excerpt
    finally:
        sys.path.remove(str(folder))
    kept = (folder / "transfer-model.json").read_text()
    remedy = "AWS changed its API: python tests/fixtures/aws/excerpt.py > transfer-model.json"
    expect(excerpt() == kept, remedy)


@case("portcullis admin: revoke, forget, unlock, and blocks")
def commands(setup, _):
    at = admin(setup).removeprefix("http://")
    for command, said in (
        (["revoke", "--user", "nobody-here"], "connections ended: 0"),
        (["forget"], "cached answers cleared: "),
        (["unlock", "--user", "bob", "--source", "203.0.113.7"], "lock-outs and failure counts cleared: 0"),
        (["block", "--user", "nobody-here", "--for", "1h"], "blocked until 2"),
        (["block", "--network", "198.51.100.0/24"], "blocked until unblock"),
        (["blocks"], "user nobody-here until 2"),
        (["unblock", "--user", "nobody-here"], "lifted"),
        (["unblock", "--network", "198.51.100.0/24"], "lifted"),
        (["blocks"], "nobody is blocked"),
    ):
        output = run([setup.binary, "admin", *command, "--at", at]).output
        expect(said in output, f"{command}: {output}")
