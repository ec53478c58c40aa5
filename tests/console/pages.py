"""What a page of Markdown shows: its blocks of code, and what is said before each."""

import dataclasses
import re


@dataclasses.dataclass
class Block:
    """One block of code."""

    page: str
    line: int
    kind: str
    text: str
    said: str
    """The paragraph before it."""
    heading: str
    not_run: str | None
    """Why it is not run, out of the mark before it."""

    @property
    def place(self):
        return f"{self.page}:{self.line}"


@dataclasses.dataclass
class Command:
    """A command, and what the page shows of what it prints."""

    text: str
    shown: list[str]


def blocks(page, text):
    """Returns the blocks of a page in order."""
    found, said, heading, mark = [], [], "", None
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        if fence := re.fullmatch(r"( *)```(\w*)", line):
            body = []
            for _, inner in lines:
                if inner.strip() == "```":
                    break
                body.append(inner.removeprefix(fence[1]) + "\n")
            found.append(
                Block(page, number + 1, fence[2], "".join(body), " ".join(said), heading, mark)
            )
            said, mark = [], None
        elif reason := re.fullmatch(r" *<!-- not run: (.+) -->", line):
            mark = reason[1]
        elif line.startswith("#"):
            heading, said = line, []
        elif line.strip():
            said.append(line)
            if mark:
                raise ValueError(f"{page}:{number}: a mark that no block follows")
        elif mark is None:
            said = said and [said[-1]]
    return found


def commands(block):
    """Returns the commands of a block; a command goes on after `\\` and `|`."""
    found, goes_on = [], False
    for line in block.text.splitlines():
        if goes_on:
            found[-1].text += "\n" + line
        elif line.startswith("$ "):
            found.append(Command(line.removeprefix("$ "), []))
        elif found:
            found[-1].shown.append(line)
            continue
        else:
            raise ValueError(f"{block.place}: the first line is no command")
        goes_on = line.endswith(("\\", "|"))
    return found
