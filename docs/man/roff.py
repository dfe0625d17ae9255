"""man(7) source: text, code and declarations of the headers, marked up."""

import re

# What stands out in prose: `words in backticks`, names of ours, error codes, other manual pages.
MARKED = re.compile(r"`(?!rota_\w+`|ROTA_\w+`)(?P<code>[^`]+)`|\b(?P<page>[a-z_]\w+)(?P<number>\([1-8]\))"
                    r"|`?\b(?P<name>(?:rota|ROTA)_(?!_)\w+)\b`?|(?<!\w)(?P<error>-E[A-Z0-9]+)\b")
CODE = re.compile(r"^ {4,}\S")
POINT = re.compile(r"(\d+\.|[-*]) +(?=\S)")
WIDTH = 72


def escape(text):
    return text.replace("\\", "\\e")


def literal(text):
    """Characters that are to be copied from the page as they are."""
    for character, name in (("-", "\\-"), ("'", "\\(aq"), ("`", "\\(ga"), ("^", "\\(ha"), ("~", "\\(ti")):
        text = text.replace(character, name)
    return text


def line(text):
    return "\\&" + text if text.startswith((".", "'")) else text


def prose(text, pages=(), own=()):
    """A paragraph. Names that are in `pages` and not the page's own get their section."""
    def mark(match):
        if match["code"]:
            return f"\\fI{literal(match['code'])}\\fP"
        if match["page"]:
            return f"\\fB{match['page']}\\fP{match['number']}"
        if match["error"]:
            return f"\\fB{literal(match['error'])}\\fP"
        section = "(3)" if match["name"] in pages and match["name"] not in own and match["name"].islower() else ""
        return f"\\fB{match['name']}\\fP{section}"

    return line(MARKED.sub(mark, escape(" ".join(text.split()))))


def paragraphs(comment):
    """Splits a comment into ("text", words), ("point", "1. words") and ("code", lines)."""
    parts, kind, lines = [], "text", []

    def end():
        while lines and not lines[-1].strip():
            lines.pop()
        if lines:
            parts.append((kind, "\n".join(lines)))
        lines.clear()

    for row in comment.splitlines():
        if POINT.match(row):
            end()
            kind = "point"
        elif CODE.match(row) and kind != "code":
            end()
            kind = "code"
        elif row.strip() and not CODE.match(row) and (kind == "code" or kind == "point" and row[0] != " "):
            end()
            kind = "text"
        elif not row.strip() and kind != "code":
            end()
            continue
        lines.append(row)
    end()
    return parts


def code(text):
    indent = min(len(row) - len(row.lstrip()) for row in text.splitlines() if row.strip())
    rows = [line(literal(escape(row[indent:]))) for row in text.splitlines()]
    return [".PP", ".in +4n", ".EX", *rows, ".EE", ".in"]


def split_parameters(text):
    """Splits at the commas that are in no parentheses."""
    return [part.strip() for part in re.findall(r"(?:[^,()]|\((?:[^()]|\([^()]*\))*\))+", text)]


def declaration(item):
    """A declaration for SYNOPSIS, in bold, its parameters' names in italics."""
    if item.kind not in ("function", "define") or "(" not in item.declaration or item.declaration[0] == "#":
        return ["\\fB" + line(literal(escape(row))) + "\\fP" for row in item.declaration.splitlines()]
    head, rest = re.match(r"(.*?\b" + item.name + r"\()(.*)", item.declaration).groups()
    inside, tail = rest[:rest.rindex(")")], rest[rest.rindex(")"):]
    indent = len(head) if len(head) < 44 else 8
    rows, row, width = [], head, len(head)
    parts = split_parameters(inside)
    for number, part in enumerate(parts):
        text = part + (", " if number + 1 < len(parts) else tail)
        if width + len(text.rstrip()) > WIDTH and number > 0:
            rows.append(row.rstrip())
            row, width = " " * indent, indent
        name = item.parameters[number] if number < len(item.parameters) else ""
        row += re.sub(rf"\b{name}\b(?!.*\b{name}\b(?![^(]*\)))", r"\\fI\g<0>\\fB", text, count=1) if name else text
        width += len(text)
    return ["\\fB" + text + "\\fP" for text in [*rows, row]]
