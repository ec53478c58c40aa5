"""A SeaweedFS with its S3 door, on loopback ports of its own."""

import contextlib
import json
import pathlib
import socket

import boto3
import botocore.config

from processes import Server, free_port

CONFIG = pathlib.Path(__file__).with_name("seaweed-s3.json")
IAM = pathlib.Path(__file__).with_name("seaweed-iam.json")


def s3_client(endpoint, access_key, secret_key):
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name="us-east-1",
        config=botocore.config.Config(
            s3={"addressing_style": "path"}, max_pool_connections=32, retries={"max_attempts": 1}
        ),
    )


@contextlib.contextmanager
def seaweed(weed, directory):
    """Yields the endpoint and both keys."""
    data = directory / "seaweed"
    logs = directory / "seaweed-logs"
    data.mkdir()
    logs.mkdir()
    ports = {name: free_port() for name in ("master", "volume", "filer", "s3")}
    # Each gRPC port defaults to the HTTP port plus 10,000, which may not exist.
    grpc = {name: free_port() for name in ports}
    arguments = [weed, f"-logdir={logs}", "-alsologtostderr=false", "mini", f"-dir={data}"]
    arguments += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-admin.ui=false", "-webdav=false"]
    arguments += [f"-admin.port={free_port()}", f"-admin.port.grpc={free_port()}"]
    arguments += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"]
    arguments += [f"-{name}.port={port}" for name, port in ports.items()]
    arguments += [f"-{name}.port.grpc={port}" for name, port in grpc.items()]
    arguments += [f"-s3.config={CONFIG}", f"-s3.iam.config={IAM}"]
    arguments += ["-s3.autoCreateBucket=false"]
    arguments += ["-s3.allowDeleteBucketNotEmpty=false"]
    keys = json.loads(CONFIG.read_text())["identities"][0]["credentials"][0]
    endpoint = f"http://127.0.0.1:{ports['s3']}"
    # It may ignore SIGTERM for many minutes.
    with Server("seaweed", arguments, directory, grace=2) as server:
        s3 = s3_client(endpoint, keys["accessKey"], keys["secretKey"])

        def ready():
            try:
                with socket.create_connection(("127.0.0.1", ports["s3"]), timeout=1):
                    pass
                s3.list_buckets()
                return True
            except Exception:  # whatever a starting store answers
                return False

        server.until(ready, 60)
        yield endpoint, keys["accessKey"], keys["secretKey"]
