"""Checks the man pages against the headers, read here a second time and in another way."""

import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# A page without a date is one that can be built again.
LINT_EXCEPT = re.compile(r"missing date")


def run(*command, cwd):
    done = subprocess.run([str(word) for word in command], cwd=cwd, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    return done.stdout.decode(), done.stderr.decode()


def declared(include):
    """{function: its declaration} and all other public names of the headers."""
    functions, names = {}, set()
    for header in sorted(include.glob("rota/*.h")):
        text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.DOTALL)
        for match in re.finditer(r"^(?:ROTA_API\s+)?((?:ROTA_SUSPENDS(?:_SHIELDED(?:_RESULT)?)?\s)?[^;{}()#=]*?"
                                 r"\b(rota_(?!_)\w+)\([^;{]*);", text, re.MULTILINE):
            if match[0].startswith(("ROTA_API", "ROTA_SUSPENDS")):
                declaration = re.sub(r"\s*ROTA_PRINTF\([^)]*\)", "", match[1])
                functions[match[2]] = " ".join(declaration.split()) + ";"
        names |= set(re.findall(r"^#define ((?:rota|ROTA)_(?!_)\w+)\b(?<!_H)", text, re.MULTILINE))
        names |= set(re.findall(r"^\} (rota_(?!_)\w+);", text, re.MULTILINE))
        names |= set(re.findall(r"^typedef [^{;]*?\b(rota_(?!_)\w+)(?:\([^;]*)?;", text, re.MULTILINE))
        names |= set(re.findall(r"^    (ROTA_(?!_)\w+)(?: = [^,\n]*)?,?\s*$", text, re.MULTILINE))
    return functions, names


def section(text, title):
    """A section of a rendered page, on one line."""
    found = re.search(rf"^{title}\n(.*?)(?=^\S)", text, re.MULTILINE | re.DOTALL)
    return " ".join(found[1].split()) if found else ""


def check_page(directory, path):
    """What is wrong with one page by itself, and its text."""
    text, warnings = run("groff", "-man", "-ww", "-Tascii", "-P-cbou", "-rLL=100n", path, cwd=directory)
    lint, _ = run("mandoc", "-T", "lint", "-W", "warning", path, cwd=directory)
    problems = [line for line in [*warnings.splitlines(), *lint.splitlines()] if not LINT_EXCEPT.search(line)]
    problems += [f"{path}: {title} is empty" for title in ("NAME", "SYNOPSIS", "DESCRIPTION")
                 if not section(text, title)]
    return problems, text


def check(root, directory):
    """Yields (title, problems): none when all is well. `directory` has man3 and man7."""
    functions, names = declared(root / "include")
    links, pages = {}, []
    for path in sorted(p.relative_to(directory) for p in directory.glob("man*/*")):
        link = re.match(r"\.so (\S+)\n\Z", (directory / path).read_text())
        if link:
            links[path] = Path(link[1])
        else:
            pages.append(path)
    with ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        checked = dict(zip(pages, pool.map(lambda path: check_page(directory, path), pages)))
    texts = {path: text for path, (_, text) in checked.items()}
    yield "groff and mandoc have nothing to say", [p for problems, _ in checked.values() for p in problems]

    def text_of(name):
        path = Path("man3") / f"{name}.3"
        return texts.get(links.get(path, path), "")

    wrong = [f"{name}: no page says {declaration}" for name, declaration in functions.items()
             if declaration not in section(text_of(name), "SYNOPSIS")]
    yield "each function has a page with its declaration", wrong if functions else ["no functions found"]
    yield "each type, macro and constant has a page", sorted(n for n in names if not text_of(n))
    yield "each link leads to a page", [f"{path} -> {to}" for path, to in links.items() if to not in texts]

    listed, _ = run("lexgrog", *pages, cwd=directory)
    known = set(re.findall(r'"(\S+) - \S', listed))
    wrong = [line for line in listed.splitlines() if "parse failed" in line]
    yield "whatis finds each function", wrong + sorted(n for n in functions if n not in known)
