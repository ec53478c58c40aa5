"""Whether what a command printed is what a page shows."""

import re

# What is another one each time, and how it is recognised.
VARIES = [
    (re.compile(r"(?<=\S) {2,}(?=\S)"), "  "),  # columns
    (re.compile(r"SHA256:[A-Za-z0-9+/]{43}"), "SHA256:…fingerprint"),
    (re.compile(r"\b[a-z]+-[a-z]+-[a-z]+-\d{2}\b"), "a-made-up-password"),
    (re.compile(r"(AWS_SECRET_ACCESS_KEY)=\S+"), r"\1=secret"),
    (re.compile(r"\b\d+(\.\d+)? ms\b"), "0 ms"),
    (re.compile(r"\b\d+(\.\d+)? MB/s"), "0 MB/s"),
    (re.compile(r"127\.0\.0\.1:(?!2222\b|8000\b|9000\b|9090\b)\d{4,5}\b"), "127.0.0.1:…port"),
]


def same(shown, seen):
    """Compares lines; `…` stands for anything in a line, and alone for any number of lines."""
    pattern = "".join(
        "(?:.*\n)*?" if line.strip() == "…" else pattern_of(line) + "\n" for line in shown
    )
    return re.fullmatch(pattern, "".join(plain(line) + "\n" for line in seen)) is not None


def pattern_of(line):
    return ".*".join(re.escape(plain(part)) for part in line.split("…"))


def plain(line):
    """A line with what varies put at rest."""
    line = line.rstrip()
    for pattern, instead in VARIES:
        line = pattern.sub(instead.replace("…", ""), line)
    return line
