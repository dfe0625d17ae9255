#!/usr/bin/env python3
"""Writes the man pages: man3 with a page for each block of declarations, man7 with one for each header.

Declarations that share a comment share a page, under the name of the first, and so do those that follow at
once with "The same ...". What stands alone and untold (an opaque type, a structure of options) goes to the page
of the call that takes it.
"""

import argparse
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import headers
import roff

# pkg-config names; all else is rota
LIBRARIES = {"rota/tls.h": "rota-tls"} | dict.fromkeys(
    ["rota/http.h", "rota/http_client.h", "rota/http_server.h", "rota/url.h", "rota/websocket.h"], "rota-http")
ZERO = "Zero is the default of each field."
RETURNS = re.compile(r"(?:^|(?<=[.:;)] ))Returns? (?!when\b|at once|as soon)", re.DOTALL)


@dataclass
class Page:
    name: str
    header: headers.Header
    section: str
    items: list = field(default_factory=list)
    guests: list = field(default_factory=list)     # blocks without a page of their own

    @property
    def all_items(self):
        return [*self.items, *(item for block in self.guests for item in block.items)]

    @property
    def names(self):
        """For NAME: enumerators only of what has no name itself."""
        return [name for item in self.all_items for name in ([item.name] if item.name else item.names)]

    @property
    def links(self):
        return {name for item in self.all_items for name in item.names} - {self.name}

    @property
    def text(self):
        return "\n".join(item.comment for item in self.items)

    @property
    def brief(self):
        return brief(next((item.comment for item in self.items if item.comment), ""))


def brief(comment):
    """The first sentence, for NAME: without its capital and its full stop, and not too long."""
    first = roff.paragraphs(comment)[0][1] if comment else ""
    sentence = re.split(r"(?<=[.:])\s+(?=[A-Z`(\"]|\Z)|(?<=\.)\s+(?=rota_)", " ".join(first.split()))[0].rstrip(".:")
    for boundary, choose in (("[;:] ", min), (", ", max)):
        places = [m.start() for m in re.finditer(boundary, sentence)
                  if 20 < m.start() <= 90 and sentence[:m.start()].count("(") == sentence[:m.start()].count(")")]
        if len(sentence) > 90 and places:
            sentence = sentence[:choose(places)]
    sentence = sentence.replace("`", "")
    return sentence[0].lower() + sentence[1:] if re.match(r"[A-Z][a-z]|A ", sentence) else sentence


def overview(header):
    stem = Path(header.name).stem
    return "rota" if header.name == "rota.h" else f"rota-{stem}"


# ---- Which block goes to which page


def is_opaque(item):
    return item.kind == "typedef" and not item.comment and "(" not in item.declaration


def is_guest(item):
    """Whether it makes no page: a type that nothing is said of, and what initialises it."""
    return item.is_type and (not item.comment or item.comment.startswith(ZERO)) or item.kind == "define" and not item.comment \
        or item.name.endswith("_INIT")


def is_initializer(block):
    return all(item.kind == "define" and is_guest(item) for item in block.items)


def join_initializers(blocks):
    """Puts ..._INIT and untold macros to the block before them."""
    joined = []
    for block in blocks:
        if joined and is_initializer(block) and joined[-1].section == block.section:
            joined[-1].items += block.items
        else:
            joined.append(block)
    return joined


def find_host(block, blocks):
    """The block whose page tells of a guest: the next that mentions it, or the last before."""
    place = blocks.index(block)
    names = [name for item in block.items for name in item.names]
    for other in [*blocks[place + 1:], *blocks[:place][::-1]]:
        if any(re.search(rf"\b{name}\b", other.text) for name in names):
            return other
    return None


def arrange(header):
    """The pages of a header, and the names whose page is the overview."""
    homeless = [item.name for block in header.blocks for item in block.items if is_opaque(item)]
    for block in header.blocks:
        block.items = [item for item in block.items if not is_opaque(item)]
    blocks = join_initializers([block for block in header.blocks if block.items])
    pages, guests = [], {}
    for block in blocks:
        inside = guests.pop(id(block), [])
        if not all(map(is_guest, block.items)):
            pages.append((block, inside))
            continue
        host = find_host(block, blocks)
        if host:
            guests.setdefault(id(host), []).extend([*inside, block])
        else:
            homeless += [name for lost in [*inside, block] for item in lost.items for name in item.names]
    return [Page(next(item for item in block.items if not is_guest(item)).names[0], header, block.section, block.items,
                 [*inside, *guests.get(id(block), [])]) for block, inside in pages], homeless


# ---- Writing


class Writer:
    """One page under way."""

    def __init__(self, name, section, version, names, text, pages):
        self.own, self.pages = names, pages
        self.lines = [".\\\" Made from a header of rota. Edit that.",
                      f".TH {roff.literal(name)} {section} \"\" \"rota {version}\" \"rota\"",
                      ".ad l", ".nh", ".SH NAME", f"{', '.join(names)} \\- {roff.line(roff.escape(text))}"]

    def heading(self, title):
        self.lines.append(f".SH {title}")

    def subheading(self, title):
        self.lines.append(f".SS \"{title}\"")

    def prose(self, text):
        return roff.prose(text, self.pages, self.own)

    def comment(self, parts):
        for kind, text in parts:
            if kind == "code":
                self.lines += roff.code(text)
            elif kind == "point":
                mark = roff.POINT.match(text)
                self.lines += [f".IP \"{roff.literal(mark[1])}\" 4", self.prose(text[mark.end():])]
            else:
                term = re.match(r"([A-Z]\w+(?: \w+)?)\. (?=\S)", text)
                text = f"\\fB{term[1]}.\\fP {self.prose(text[term.end():])}" if term else self.prose(text)
                after_heading = re.match(r"\.S[HS] ", self.lines[-1])
                self.lines += [text] if after_heading else [".PP", text]

    def terms(self, pairs):
        for term, text in pairs:
            self.lines += [".TP", f"\\fB{term}\\fP"]
            self.lines.append(self.prose(text))

    def synopsis(self, header, items):
        self.heading("SYNOPSIS")
        self.lines += [".nf", f"\\fB#include <{header.name}>\\fP"]
        before = None
        for item in items:
            kind = "call" if item.name.islower() and not item.is_type else item.kind
            apart = item.is_type or kind != before
            self.lines += [*([".PP"] if apart else []), *roff.declaration(item)]
            before = kind
        self.lines.append(".fi")

    def see_also(self, references):
        self.heading("SEE ALSO")
        self.lines += [f".BR {roff.literal(name)} ({section})," for name, section in references]
        self.lines[-1] = self.lines[-1].rstrip(",")

    def write(self, path):
        path.write_text("\n".join(self.lines) + "\n")


def divide(items):
    """Comments, each with the items that it is for: those that follow without one share it."""
    shares = []
    for item in items:
        if item.comment or not shares:
            shares.append(([item], item.comment))
        else:
            shares[-1][0].append(item)
    return shares


def take_returns(items, parts):
    """Splits off what the text says of results."""
    if all(item.is_type or re.match(r"void \w", item.declaration) for item in items):
        return parts, []
    rest, returns = [], []
    for kind, text in parts:
        flat = " ".join(text.split())
        found = RETURNS.search(flat) if kind == "text" else None
        if not found:
            rest.append((kind, text))
            continue
        returns.append(flat[found.start():])
        if flat[:found.start()].strip():
            rest.append(("text", flat[:found.start()].strip()))
    return (rest, returns) if rest else (parts, [])


def write_page(page, pages, version, directory):
    items = sorted(page.all_items, key=lambda item: item.line)
    writer = Writer(page.name, 3, version, list(dict.fromkeys(page.names)), page.brief, pages)
    writer.synopsis(page.header, items)
    writer.heading("DESCRIPTION")
    results = []
    for number, (sharing, comment) in enumerate(divide(page.items)):
        names = ", ".join(name for item in sharing for name in ([item.name] if item.name else []))
        parts, returns = take_returns(sharing, roff.paragraphs(comment))
        if number:
            writer.subheading(names)
        writer.comment(parts)
        writer.terms(pair for item in sharing for pair in item.fields if pair[1])
        results += [(names, text) for text in returns]
    for item in page.all_items[len(page.items):]:
        fields = [pair for pair in item.fields if pair[1]]
        if fields or item.comment not in ("", ZERO):
            writer.subheading(", ".join([item.name] if item.name else item.names))
            writer.comment(roff.paragraphs(item.comment))
            writer.terms(fields)
    if results:
        writer.heading("RETURN VALUE")
        if len(results) == 1:
            writer.lines.append(writer.prose(results[0][1]))
        else:
            writer.terms(results)
    writer.see_also(references(page, pages))
    writer.write(directory / "man3" / f"{page.name}.3")
    for name in page.links:
        (directory / "man3" / f"{name}.3").write_text(f".so man3/{page.name}.3\n")


def references(page, pages):
    """Pages that the text names, neighbours in the header's section, the overview, and foreign pages."""
    named = [pages[name].name for name in re.findall(r"\b(?:rota|ROTA)_\w+", page.text)
             if name in pages and not name.startswith("ROTA_E")]
    near = list(dict.fromkeys(other.name for other in pages.values()
                              if other.header is page.header and other.section == page.section))
    here = near.index(page.name)
    near = near[max(0, here - 4):here + 5]
    foreign = set(re.findall(r"\b([a-z_]\w+)\(([1-8])\)", page.text))
    ours = {(name, "3") for name in [*named, *near] if name != page.name}
    return sorted(ours | foreign | {(overview(page.header), "7")}, key=lambda r: (r[1], r[0].lower(), r[0]))


def write_overview(header, contents, homeless, pages, version, directory):
    """man7: the opening of a header, and what is in it. `contents` are titles with (name, section, brief)."""
    name = overview(header)
    opening = re.sub(r"^\w+: ", "", header.comment)
    text = brief(opening)
    writer = Writer(name, 7, version, [name], text, pages)
    writer.heading("SYNOPSIS")
    library = LIBRARIES.get(header.name, "rota")
    writer.lines += [".nf", f"\\fB#include <{header.name}>\\fP", ".PP",
                     f"cc ... $(pkg\\-config \\-\\-cflags \\-\\-libs {roff.literal(library)})", ".fi"]
    writer.heading("DESCRIPTION")
    writer.comment(roff.paragraphs(opening[0].upper() + opening[1:]))
    for title, entries in contents:
        if entries:
            writer.heading(f"\"{title.upper()}\"")
        for entry, section, words in entries:
            writer.lines += [".TP", f".BR {roff.literal(entry)} ({section})", roff.line(roff.escape(words))]
    if name != "rota":
        writer.see_also([("rota", "7")])
    writer.write(directory / "man7" / f"{name}.7")
    for alias in homeless:
        (directory / "man3" / f"{alias}.3").write_text(f".so man7/{name}.7\n")


def sections(pages):
    """(title, entries) of a header's overview."""
    titles = {}
    for page in pages:
        title = re.split(r": ", page.section)[0] or "Contents"
        titles.setdefault(title, []).append((page.name, 3, page.brief))
    return list(titles.items())


def write_all(found, version, directory):
    arranged = [(header, *arrange(header)) for header in found]
    pages = {name: page for _, own, _ in arranged for page in own for name in [page.name, *page.links]}
    for part in ("man3", "man7"):
        shutil.rmtree(directory / part, ignore_errors=True)
        (directory / part).mkdir(parents=True)
    for header, own, homeless in arranged:
        for page in own:
            write_page(page, pages, version, directory)
        if header.name != "rota.h":
            write_overview(header, sections(own), homeless, pages, version, directory)
    modules = [(overview(h), 7, brief(re.sub(r"^\w+: ", "", h.comment))) for h in found if h.name != "rota.h"]
    umbrella = next(h for h in found if h.name == "rota.h")
    write_overview(umbrella, [("Headers", modules)], [], pages, version, directory)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--doxygen", default="doxygen")
    parser.add_argument("--version", required=True)
    parser.add_argument("--depfile", type=Path)
    parser.add_argument("include", type=Path)
    parser.add_argument("output", type=Path)
    options = parser.parse_args()
    include = options.include.resolve()
    write_all(headers.read(options.doxygen, include), options.version, options.output)
    if options.depfile:
        inputs = [include, *(p for p in include.rglob("*") if p.is_dir() or p.suffix == ".h")]
        options.depfile.write_text(f"{options.output / 'man3'}: {' '.join(map(str, inputs))}\n")


if __name__ == "__main__":
    main()
