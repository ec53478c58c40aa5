"""What is transferred: a tree of real files, awkward names, one large file."""

import hashlib
import os
import pathlib
import shutil
import sysconfig

from processes import Failed

FILE_BYTES_MAX = 256 * 1024
NAMES = [
    "two words",
    "trailing space ",
    " leading space",
    'double"quote',
    "it's",
    "-dash",
    ".hidden",
    "a+b%20c&d=e#f;g!h$i",
    "star*question?[bracket]",
    "naïve – 日本語 – 🦀",
    "e\u0301 decomposed, \u00e9 composed",
    "tab\there",
    "~tilde",
    "colon:name",
    "n" * 255,
    "é" * 127 + "x",
]
# SeaweedFS loses such keys from its listings.
BACKSLASH = "back\\slash"


def sources():
    """Directories with real files: what cargo fetched, or else Python's own library."""
    home = pathlib.Path(os.environ.get("CARGO_HOME") or pathlib.Path.home() / ".cargo")
    crates = sorted((home / "registry/src").glob("*/*"))
    return crates or [pathlib.Path(sysconfig.get_paths()["stdlib"])]


def tree(into, count):
    """Copies `count` files, and adds an empty file and an empty directory."""
    copied = 0
    for source in sources():
        for folder, folders, names in os.walk(source):
            folders.sort()
            for name in sorted(names):
                path = pathlib.Path(folder, name)
                if path.is_symlink() or not 0 < path.stat().st_size <= FILE_BYTES_MAX:
                    continue
                target = into / source.name / path.relative_to(source)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
                copied += 1
                if copied == count:
                    (into / "empty file").touch()
                    (into / "empty directory").mkdir()
                    return into
    raise Failed(f"only {copied} files to be found, {count} are needed")


def awkward(into, *, backslash):
    """One small file for each name."""
    for name in awkward_names(backslash):
        (into / name).write_bytes(f"this is {name}\n".encode())
    return into


def awkward_names(backslash):
    return NAMES + ([BACKSLASH] if backslash else [])


def big(path, mib):
    """A file of random bytes; returns its SHA-256."""
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        for _ in range(mib // 16):
            block = os.urandom(16 * 1024 * 1024)
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def sha256(stream):
    """The SHA-256 of what a file or an S3 body holds."""
    digest = hashlib.sha256()
    while block := stream.read(4 * 1024 * 1024):
        digest.update(block)
    return digest.hexdigest()


def files(directory):
    """Relative name to path of every file below."""
    return {
        str(path.relative_to(directory)): path
        for path in pathlib.Path(directory).rglob("*")
        if path.is_file()
    }


def same_trees(here, there):
    """Compares directories and files, byte for byte."""
    for kind in ("is_dir", "is_file"):
        both = [
            {str(path.relative_to(root)) for path in root.rglob("*") if getattr(path, kind)()}
            for root in (pathlib.Path(here), pathlib.Path(there))
        ]
        if both[0] != both[1]:
            missing, added = sorted(both[0] - both[1])[:5], sorted(both[1] - both[0])[:5]
            raise Failed(f"trees differ ({kind}): missing {missing}, unexpected {added}")
    for name, path in files(here).items():
        if path.read_bytes() != (pathlib.Path(there) / name).read_bytes():
            raise Failed(f"{name!r} came back with other bytes")


def same_objects(here, setup, below, sample=40):
    """Compares a local tree with what S3 lists: names, sizes, ETags, and a sample of bytes."""
    local = files(here)
    objects = setup.objects(below)
    if local.keys() != objects.keys():
        missing = sorted(local.keys() - objects.keys())[:5]
        added = sorted(objects.keys() - local.keys())[:5]
        raise Failed(f"S3 lists other names: missing {missing}, unexpected {added}")
    for name, path in local.items():
        body = path.read_bytes()
        size, etag = objects[name]
        if size != len(body):
            raise Failed(f"S3 says {size} bytes for {name!r}, which has {len(body)}")
        if "-" not in etag and etag != hashlib.md5(body, usedforsecurity=False).hexdigest():
            raise Failed(f"the ETag of {name!r} is not its MD5")
    for name in sorted(local)[:: max(1, len(local) // sample)]:
        path = f"{below.strip('/')}/{name}"
        if setup.object(path).read() != local[name].read_bytes():
            raise Failed(f"S3 holds other bytes for {name!r}")
