#!/usr/bin/env python3
"""Wraps what clang-format leaves alone: Markdown at 120 columns, comments of C at 100.

usage: check_text.py [--fix]     lists the lines that are too long, or wraps the paragraphs that they are in

A paragraph is wrapped as a whole, and only if one of its lines is too long. Lists, indented code, tables and directives
keep their shape. A comment behind code that does not fit moves above it.
"""

import re
import sys
import textwrap
from pathlib import Path

C_COLUMNS, MARKDOWN_COLUMNS = 100, 120
PARTS = ("bench", "examples", "fuzz", "include", "src", "tests")
ITEM = re.compile(r"(?:[-*] |\d+\. |- \[.\] )")
BEHIND = re.compile(r"^(?P<indent>\s*)(?P<code>\S.*?)\s*/\* (?P<text>.*?) ?\*/(?P<rest>[\s\\]*)$")


def wrapped(text, columns, first, rest):
    return textwrap.wrap(text, columns, initial_indent=first, subsequent_indent=rest, break_long_words=False,
                         break_on_hyphens=False)


# ---- Paragraphs: lines that begin with the same prefix

def wrap_lines(lines, columns, prefix):
    """Wraps the paragraphs of some lines, all of which begin with `prefix`. Deeper indentation is code, or goes on with
    a point of a list."""
    out, paragraph = [], []

    def flush():
        if paragraph and any(len(line) > columns for line in paragraph):
            text = [line[len(prefix):] for line in paragraph]
            indent = re.match(r"\s*", text[0])[0]
            item = ITEM.match(text[0].strip())
            rest = prefix + indent + " " * (item.end() if item else 0)
            out.extend(wrapped(" ".join(part.strip() for part in text), columns, prefix + indent, rest))
        else:
            out.extend(paragraph)
        paragraph.clear()

    for line in lines:
        text = line[len(prefix):]
        stripped = text.strip()
        indent = len(text) - len(text.lstrip())
        before = paragraph[0][len(prefix):] if paragraph else ""
        goes_on = paragraph and not ITEM.match(stripped) and (
            indent == len(before) - len(before.lstrip()) + (ITEM.match(before.strip()).end() if ITEM.match(before.strip()) else 0))
        if not goes_on:
            flush()
        if not stripped or (indent >= 4 and not goes_on) or stripped.startswith(("|", "#", "<", "!")):
            flush()
            out.append(line)
        else:
            paragraph.append(line)
    flush()
    return out


def wrap_markdown(text):
    out, plain, fenced = [], [], False
    for line in text.splitlines():
        if line.startswith("```"):
            out.extend(wrap_lines(plain, MARKDOWN_COLUMNS, ""))
            plain, fenced = [], not fenced
            out.append(line)
        elif fenced:
            out.append(line)
        else:
            plain.append(line)
    return "\n".join([*out, *wrap_lines(plain, MARKDOWN_COLUMNS, "")]) + "\n"


# ---- Comments

def wrap_comment(lines):
    """Wraps a comment that begins its own line: /* ... */, over one or many lines."""
    indent = re.match(r"\s*", lines[0])[0]
    if all(len(line) <= C_COLUMNS for line in lines):
        return lines
    body = [indent + " * " + lines[0].strip()[3:], *lines[1:]]
    if not all(line.startswith(indent + " *") for line in body) or not lines[0].strip().startswith("/* "):
        return lines
    body[-1] = re.sub(r"\s*\*/$", "", body[-1])
    closing = [indent + " */"] if body[-1].strip() in ("", "*") and len(body) > 1 else []
    if closing:
        body.pop()
    out = wrap_lines([line + " " if line == indent + " *" else line for line in body], C_COLUMNS, indent + " * ")
    out = [line.rstrip() for line in out]
    out[0] = indent + "/* " + out[0][len(indent) + 3:]
    if closing:
        return out + closing
    if len(out[-1]) + 3 <= C_COLUMNS:
        return [*out[:-1], out[-1] + " */"]
    head, _, word = out[-1].rpartition(" ")
    return [*out[:-1], head, f"{indent} * {word} */"]


def wrap_c(text):
    lines, out, at = text.splitlines(), [], 0
    while at < len(lines):
        line = lines[at]
        if line.lstrip().startswith("/*"):
            end = at
            while "*/" not in lines[end]:
                end += 1
            whole = lines[end].rstrip().endswith("*/")
            out.extend(wrap_comment(lines[at:end + 1]) if whole else lines[at:end + 1])
            at = end + 1
            continue
        behind = BEHIND.match(line) if len(line) > C_COLUMNS and not line.rstrip().endswith("\\") else None
        if behind and '"' not in behind["code"] and not behind["code"].startswith(("}", "#")):
            out.extend(wrap_comment([f"{behind['indent']}/* {behind['text']} */"]))
            line = behind["indent"] + behind["code"]
        out.append(line)
        at += 1
    return "\n".join(out) + "\n"


# ---- What is too long

def may_be_long(line):
    """A row of a table, a word that cannot be broken, a string."""
    text = line.strip()
    return text.startswith("|") or " " not in text.lstrip("-*/> ") or \
        bool(re.search(r'"[^"]*"', text) and not re.match(r"/\*|\*|//", text))


def files(root):
    """(path, columns, how it is wrapped)"""
    for pattern in ("*.md", "docs/**/*.md"):
        for path in sorted(root.glob(pattern)):
            yield path, MARKDOWN_COLUMNS, wrap_markdown
    for part in PARTS:
        for path in sorted(root.glob(f"{part}/**/*")):
            if path.suffix in (".c", ".h", ".cpp"):
                yield path, C_COLUMNS, wrap_c


def check(root):
    """Yields (title, problems): none when all is well."""
    problems, seen = {"Markdown": [], "C": []}, {"Markdown": 0, "C": 0}
    for path, columns, _ in files(root):
        kind = "Markdown" if path.suffix == ".md" else "C"
        seen[kind] += 1
        problems[kind] += [f"{path.relative_to(root)}:{number}: more than {columns} columns; ./dev fmt wraps it"
                           for number, line in enumerate(path.read_text().splitlines(), 1)
                           if len(line) > columns and not may_be_long(line)]
    for kind, found in problems.items():
        yield f"{kind} wraps", found if seen[kind] else ["no files found"]


def main():
    root = Path(__file__).resolve().parent.parent
    if sys.argv[1:] == ["--fix"]:
        for path, _, wrap in files(root):
            before = path.read_text()
            after = wrap(before)
            if after != before:
                path.write_text(after)
    found = [problem for _, problems in check(root) for problem in problems]
    print("\n".join(found))
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
