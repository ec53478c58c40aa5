#!/usr/bin/env python3
"""Writes what the chart says twice: the table of values in its README, out of values.yaml, and the
schema of `config` and `secrets`, out of docs/configuration.md.

    python3 tests/chart/generate.py            # writes both files
    python3 tests/chart/generate.py --check    # says which of them is out of date
"""

import json
import re
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm/portcullis"
BEGIN, END = "<!-- values: begin -->\n", "<!-- values: end -->\n"
# What the chart decides; section "" is the top of the file.
DECIDED = {
    ("", "listen"), ("", "host_key_files"), ("", "state_directory"), ("admin", "listen"),
    ("admin", "probe_listen"),
    # Only a table of config.provider has a port of its own.
    ("identity", "listen"), ("identity", "proxy_protocol"), ("identity", "trusted_networks"),
}
# What a table of tables calls them; the gateway's rule.
TABLE_NAME = "[a-z0-9]{1,32}"
# A port that a Service can reach.
LISTEN = {"type": "string", "pattern": r"^((0\.0\.0\.0|\[::\]):[1-9][0-9]{0,4}|off)$"}


def rows(text):
    """Yields (path, description) for each key of values.yaml with a comment right above it."""
    above, path = [], []
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        if line.lstrip().startswith("#"):
            above.append(line.strip("# "))
            continue
        key = re.match(r"\s*([A-Za-z]\w*):", line)
        if key:
            path = path[: indent // 2] + [key.group(1)]
            if above:
                yield tuple(path), " ".join(above)
        above = []


def readme():
    text = (CHART / "values.yaml").read_text()
    values = yaml.safe_load(text)
    table = ["| value | default | what it does |\n", "| --- | --- | --- |\n"]
    for path, description in rows(text):
        default = values
        for key in path:
            default = default[key]
        # `config` stands for its whole tree; what is set in it has a row of its own.
        shown = "" if path == ("config",) else f"`{json.dumps(default)}`"
        table.append(f"| `{'.'.join(path)}` | {shown} | {description} |\n")
    document = (CHART / "README.md").read_text()
    before, rest = document.split(BEGIN)
    return before + BEGIN + "".join(table) + END + rest.split(END)[1]


def settings():
    """Yields (section, name, is_secret, allowed, description) of docs/configuration.md. A section
    that may be there many times is called `role.NAME`."""
    section, rows, shared = "", [], []
    for line in (ROOT / "docs/configuration.md").read_text().splitlines():
        if heading := re.match(r"## `\[(\w+(?:\.NAME)?)\]`", line):
            section = heading.group(1)
        # The two sections whose settings a table of tables takes as well.
        tables = re.match(r"(For several providers|Further stores).* a table `\[([\w.]+)\]`", line)
        if tables:
            takes, left_out = line.split(" except ")
            original = re.search(r"takes every setting of `\[(\w+)\]`$", takes)
            shared.append((original.group(1) if original else section, tables.group(2),
                           set(re.findall(r"`(\w+)`", left_out))))
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if name := re.match(r"`(\w+)`(?: or `(\w+)`)?$", cells[0]) if len(cells) == 5 else None:
            rows.append((section, name.group(1), bool(name.group(2)), cells[3], cells[4]))
    if [copy for _, copy, _ in shared] != ["provider.NAME", "store.NAME"]:
        raise SystemExit("docs/configuration.md: no sentence says what [provider.NAME] and "
                         "[store.NAME] take")
    yield from rows
    for original, copy, left_out in shared:
        for section, name, *rest in rows:
            if section == original and name not in left_out:
                yield copy, name, *rest


def schema_of(allowed):
    """Turns the words of the column `allowed` into a schema."""
    if words := re.fullmatch(r'"[^"]*"(, "[^"]*")*', allowed):
        return {"enum": json.loads(f"[{words.group()}]")}
    if allowed == "true or false":
        return {"type": "boolean"}
    if allowed == "a list of strings":
        return {"type": "array", "items": {"type": "string"}}
    if bounds := re.fullmatch(r"(\d+) to (\d+)( \w+)?", allowed):
        low, high = int(bounds.group(1)), int(bounds.group(2))
        return {"type": "integer", "minimum": low, "maximum": high}
    if bounds := re.fullmatch(r"(0|\d+[KMGT]iB) to \d+[KMGT]iB", allowed):
        # The gateway checks the bounds; here only what looks like a size.
        least = 0 if bounds.group(1) == "0" else 1
        return {"type": ["integer", "string"], "pattern": "^[0-9]+ ?([KMGT]iB)?$", "minimum": least}
    if allowed.startswith(("a string", "an address", "the name of a file", "a URL")):
        return {"type": "string"}
    raise SystemExit(f"docs/configuration.md: {allowed!r}: schema_of does not know it")


def schema():
    config = closed_object()
    secrets, repeated_secrets = [], []
    for section, name, is_secret, allowed, description in settings():
        table, _, repeated = section.partition(".")
        if is_secret:
            secret = f"{table}\\.{TABLE_NAME}\\.{name}" if repeated else f"{section}.{name}"
            (repeated_secrets if repeated else secrets).append(secret)
            name, allowed = f"{name}_file", "the name of a file"
        if (section, name) in DECIDED:
            continue
        place = config["properties"]
        if section:
            tree = place.setdefault(table, table_of_tables() if repeated else closed_object())
            if repeated:
                [tree] = tree["patternProperties"].values()
            place = tree["properties"]
        allowed_here = LISTEN if repeated and name == "listen" else schema_of(allowed)
        place[name] = {**allowed_here, "description": description}
    whole = json.loads((CHART / "values.schema.json").read_text())
    whole["properties"]["config"] = config
    in_secrets = whole["properties"]["secrets"]["properties"]
    pattern = f"^({'|'.join(repeated_secrets)})$"
    in_secrets["settings"]["items"] = {"anyOf": [{"enum": secrets}, {"pattern": pattern}]}
    value = {"type": "string", "minLength": 1}
    in_secrets["values"] = {
        **closed_object(),
        "properties": {name: value for name in secrets},
        "patternProperties": {pattern: value},
    }
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def closed_object():
    return {"type": "object", "additionalProperties": False, "properties": {}}


def table_of_tables():
    return {
        "type": "object",
        "additionalProperties": False,
        "patternProperties": {f"^{TABLE_NAME}$": closed_object()},
    }


def main():
    stale = False
    for path, text in [(CHART / "README.md", readme()), (CHART / "values.schema.json", schema())]:
        if path.read_text() == text:
            continue
        stale = True
        if "--check" not in sys.argv:
            path.write_text(text)
            print(f"wrote {path.relative_to(ROOT)}")
        else:
            print(f"{path.relative_to(ROOT)} is out of date; run tests/chart/generate.py")
    sys.exit(stale and "--check" in sys.argv)


if __name__ == "__main__":
    main()
