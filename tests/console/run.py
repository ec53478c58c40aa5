#!/usr/bin/env python3
"""Does what README and docs say, block by block, and compares what comes out with what they show.

    python3 tests/console/run.py                          # every page
    python3 tests/console/run.py --only docs/token.md     # the pages whose name holds the text

Every `console` block is run in order, in a clean folder. A block that cannot run here has a mark
before it, `<!-- not run: why -->`, and is listed. The exit status is 1 when a page is wrong.
"""

import argparse
import contextlib
import pathlib
import re
import shutil
import signal
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(REPOSITORY / "tests/clients"))  # how processes are started and stopped

from processes import Failed  # noqa: E402

from comparison import same  # noqa: E402
from pages import blocks, commands  # noqa: E402
from reader import ANSWERS, BLANKS, FILES, a_gateway  # noqa: E402
from terminal import Terminal  # noqa: E402

# Pages that begin with nothing; readers of the others have a gateway that runs.
FROM_NOTHING = (
    "README.md",
    "docs/identity-provider.md",
    "docs/static-users.md",
    "docs/test-without-aws.md",
)


def main():
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds, and so stops everything
    began = time.monotonic()
    tally = Tally()
    pages = sorted(path.name for path in (REPOSITORY / "docs").glob("*.md"))
    for page in ["README.md", *(f"docs/{name}" for name in pages)]:
        if options.only in page:
            read(page, options, tally)
    if not options.only and tally.ran < RUN_MIN:
        tally.wrong("all pages", f"only {tally.ran} commands were run; expected {RUN_MIN} or more")
    seconds = time.monotonic() - began
    print(
        f"{tally.ran} commands run, {tally.not_run} blocks not run, {tally.failures} wrong"
        f" · {seconds:.0f} s"
    )
    return 1 if tally.failures else 0


def parse():
    parser = argparse.ArgumentParser(description="Runs what README and docs show")
    parser.add_argument("--binary", default=REPOSITORY / "target/release/portcullis")
    parser.add_argument("--only", default="", help="pages whose name holds this text")
    options = parser.parse_args()
    options.binary = pathlib.Path(options.binary).resolve()
    if not options.binary.is_file():
        parser.error(f"{options.binary} does not exist: build it, or name one with --binary")
    return options


class Tally:
    """What came out so far."""

    def __init__(self):
        self.ran = self.not_run = self.failures = 0

    def fine(self, place, command):
        self.ran += 1
        print(f"ok       {place}  {command.splitlines()[0][:90]}", flush=True)

    def left_out(self, block):
        self.not_run += 1
        print(f"not run  {block.place}  {block.not_run}", flush=True)

    def wrong(self, place, why):
        self.failures += 1
        print(f"WRONG    {place}", flush=True)
        for line in str(why).splitlines():
            print(f"           {line}", flush=True)


def read(page, options, tally):
    """Does what a page says, from its beginning to its end or to the first thing that is wrong."""
    found = blocks(page, (REPOSITORY / page).read_text(encoding="utf-8"))
    for block in (block for block in found if block.kind == "console" and block.not_run):
        tally.left_out(block)
    found = [block for block in found if not block.not_run]
    if not any(block.kind == "console" for block in found):
        return
    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(tempfile.mkdtemp(prefix="portcullis-console-"))
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        terminal = Terminal(
            directory, options.binary, shutil.which("sftp"), installed=page != "README.md"
        )
        stack.enter_context(terminal)
        shutil.copy(REPOSITORY / "README.md", terminal.folder)
        shutil.copytree(REPOSITORY / MOVED, terminal.folder, dirs_exist_ok=True)
        for name, text in FILES.items():
            write(terminal.folder / name, text)
        place = page
        try:
            if page not in FROM_NOTHING:
                a_gateway(terminal)
            for block in found:
                place = block.place
                follow(terminal, block, tally)
        except (Failed, ValueError) as error:
            tally.wrong(place, error)


def follow(terminal, block, tally):
    """Does what one block says."""
    if block.kind == "console" and block.text.startswith("sftp> "):
        session(terminal, block)
        tally.fine(block.place, "sftp")
    elif block.kind == "console":
        terminal.interrupt()
        for command in commands(block):
            run(terminal, block, command)
            tally.fine(block.place, command.text)
    elif name := file_named(block, terminal.written):
        terminal.written[(block.heading, block.kind)] = name
        write(terminal.folder / name, terminal.here(block.text))


def session(terminal, block):
    """Types what an `sftp` block shows, as the user whom the gateway before it made up."""
    if not terminal.sftp:
        raise Failed("no output before it says how to log in")
    typed = re.findall(r"^sftp> (.*\n)", block.text, re.MULTILINE)
    write(terminal.folder / "batch", "".join(typed))
    seen, _ = terminal.run(f"{terminal.sftp} < batch", lambda _: False)
    seen = [line for line in seen if not line.startswith("Connected to ")]  # before the prompt
    # What the gateway says beside an answer comes on a way of its own, before or after it.
    shown = sorted(block.text.splitlines())
    if not same(shown, sorted(seen)):
        raise Failed(difference(block.text.splitlines(), seen))


def run(terminal, block, command):
    """Runs one command, and compares what it prints if the page shows that."""
    shown = command.shown

    def enough(seen):
        return not shown or same(shown, seen)

    answers = ANSWERS.get(command.text, ())
    text = command.text
    for blank, filled in BLANKS.items():
        text = text.replace(blank, filled)
    seen, status = terminal.run(text, enough, answers)
    if status not in (None, 0):
        raise Failed(f"$ {command.text}\nexits {status} and prints:\n" + "\n".join(seen))
    if shown and not same(shown, seen):
        raise Failed(f"$ {command.text}\n" + difference(shown, seen))
    remember_login(terminal, seen)


def remember_login(terminal, seen):
    for line in seen:
        if line.strip().startswith("sftp -P "):
            terminal.sftp = line.strip()
        elif password := re.fullmatch(r"\s+password: (\S+)", line):
            terminal.logged_in = password[1]


def difference(shown, seen):
    return "the page shows:\n  " + "\n  ".join(shown) + "\nit prints:\n  " + "\n  ".join(seen)


def file_named(block, before):
    """The file that a block is, by the paragraph before it: "…, `auth.py`:". Under one heading
    what has no name goes on with the file before."""
    if block.kind not in ("python", "toml"):
        return None
    if names := re.findall(r"`([\w.-]+\.(?:py|toml))`", block.said):
        return names[-1]
    return before.get((block.heading, block.kind))


def write(path, text):
    """Writes a file; what a page shows of it later is added."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(text)


# What a reader recorded of another server.
MOVED = "tests/fixtures/transfer-family"

# Fewer than this were not found, or have become too few to say anything about the pages.
RUN_MIN = 30

if __name__ == "__main__":
    sys.exit(main())
