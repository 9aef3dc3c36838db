# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write what each role says of its variables out of its meta/argument_specs.yml, where it is said once.

That is defaults/main.yml, and the tables in README.md between two marks. A comment ``# Section: TITLE`` before an
option begins a section of both.
"""

import json
import pathlib
import re
import textwrap

import yaml

ROLES = sorted((pathlib.Path(__file__).resolve().parents[2] / "roles").iterdir())
BEGIN = "<!-- What follows is written by `make role-docs` from meta/argument_specs.yml. -->\n"
END = "<!-- End of what is written by `make role-docs`. -->\n"
HEADER = """\
---
# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later

# Written by `make role-docs` from meta/argument_specs.yml, where each variable is described in full.
"""


def read(role):
    """Return the options of all entry points by section: a dict of titles to dicts of names to specifications."""
    text = (role / "meta" / "argument_specs.yml").read_text()
    titles, title = {}, None
    for line in text.splitlines():
        if begins := re.fullmatch(r" +# Section: (.+)", line):
            title = begins[1]
        elif option := re.match(r"      (\w+):", line):
            # An option that several entry points have is described where it comes first.
            titles.setdefault(option[1], title)
    sections = {}
    for entry in yaml.safe_load(text)["argument_specs"].values():
        for name, spec in entry["options"].items():
            section = sections.setdefault(titles[name], {})
            if section.setdefault(name, spec) is not spec:
                raise ValueError(f"{name} is described twice; use an anchor and an alias")
    return sections


def sentences(spec):
    """Return a description as plain text with backticks instead of Ansible's macros, paragraph by paragraph."""
    description = spec["description"]
    for text in [description] if isinstance(description, str) else description:
        text = re.sub(r"\b(?:C|E|O|V|RV)\(([^)]*(?:\(\))?)\)", r"`\1`", " ".join(text.split()))
        yield re.sub(r"\b[MP]\(([\w.]+)(?:#\w+)?\)", r"`\1`", text)


def scalar(value):
    """Return a value as YAML on one line."""
    text = str(value)
    if isinstance(value, str):
        try:
            return text if yaml.safe_load(text) == value else json.dumps(value)
        except yaml.YAMLError:
            return json.dumps(value)
    return json.dumps(value)


def assignment(name, spec):
    """Return the line of a variable in the defaults, commented out when it has none."""
    if "default" not in spec:
        return f"# {name}:\n"
    value = spec["default"]
    if isinstance(value, list) and value:
        return f"{name}:\n" + "".join(f"  - {scalar(item)}\n" for item in value)
    return f"{name}: {scalar(value)}\n"


def defaults(sections):
    """Return the text of defaults/main.yml."""
    parts = [HEADER]
    for title, options in sections.items():
        parts.append(f"\n# --- {title} ---\n")
        for name, spec in options.items():
            comment = textwrap.fill(next(sentences(spec)), 118, break_long_words=False, break_on_hyphens=False)
            parts.append("\n" + textwrap.indent(comment, "# ") + "\n" + assignment(name, spec))
    return "".join(parts)


def rows(options, before=""):
    """Return the rows of a table for options and for the keys of dictionaries among them, the same keys once only."""
    told = {}
    for name, spec in options.items():
        inner = spec.get("options")
        like = told.get(id(inner))
        meaning = " ".join(sentences(spec)) + (f" Its keys are those of `{like}`." if like else "")
        without = "required" if spec.get("required") else "not set"
        value = f"`{scalar(spec['default'])}`" if "default" in spec else without
        kind = ", ".join(f"`{choice}`" for choice in spec.get("choices", [])) or spec["type"]
        yield f"| `{before}{name}` | {kind} | {value} | {meaning} |\n"
        if inner and not like:
            told[id(inner)] = name
            yield from rows(inner, f"{before}{name}.")


def tables(sections):
    """Return what comes between the marks of the README."""
    parts = []
    for title, options in sections.items():
        head = "| variable | type | default | meaning |\n|---|---|---|---|\n"
        parts.append(f"\n### {title}\n\n{head}{''.join(rows(options))}")
    return "".join(parts) + "\n"


def written(role):
    """Return both files of a role with the texts that they should have."""
    sections = read(role)
    readme = role / "README.md"
    before, begin, rest = readme.read_text().partition(BEGIN)
    _old, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{readme} lacks the marks between which the tables go")
    return {
        role / "defaults" / "main.yml": defaults(sections),
        readme: before + begin + tables(sections) + end + after,
    }


def main():
    for role in ROLES:
        for path, text in written(role).items():
            path.write_text(text)


if __name__ == "__main__":
    main()
