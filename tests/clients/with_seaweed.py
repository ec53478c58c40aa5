#!/usr/bin/env python3
"""Runs a command with a SeaweedFS beside it, named in the TEST_S3_… and TEST_STS_… variables.

  python tests/clients/with_seaweed.py cargo test --test it storage_contract
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from seaweed import s3_client, seaweed

# What SeaweedFS is known not to have: see tests/clients/README.md.
LACKS = "byte-order,slash-keys,gap-check,part-replacing"


def main():
    weed = shutil.which("weed")
    if weed is None or len(sys.argv) < 2:
        sys.exit("usage: with_seaweed.py COMMAND… (needs `weed` on the PATH)")
    with tempfile.TemporaryDirectory(prefix="portcullis-seaweed-") as directory:
        with seaweed(weed, pathlib.Path(directory)) as (endpoint, access_key, secret_key):
            s3 = s3_client(endpoint, access_key, secret_key)
            for bucket in ("contract", "contract-other"):
                s3.create_bucket(Bucket=bucket)
            environment = {
                **os.environ,
                "TEST_S3_ENDPOINT": endpoint,
                "TEST_S3_ACCESS_KEY": access_key,
                "TEST_S3_SECRET_KEY": secret_key,
                "TEST_S3_BUCKET": "contract",
                "TEST_S3_OTHER_BUCKET": "contract-other",
                "TEST_S3_LACKS": LACKS,
                # STS answers at the same door; the roles are those of seaweed-iam.json.
                "TEST_STS_ENDPOINT": endpoint,
                "TEST_STS_ROLE_PREFIX": "arn:aws:iam::000000000000:role/",
            }
            sys.exit(subprocess.run(sys.argv[1:], env=environment).returncode)


if __name__ == "__main__":
    main()
