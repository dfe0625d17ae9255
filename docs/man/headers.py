"""The public headers as doxygen parses them: what is declared, on which line, under which comment."""

import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
SECTION = re.compile(r"/\* ---- (.*?) ----")
PRIVATE_FIELD = re.compile(r"(?:^|[ *])_\w+(?:\[.*\]|\)\(.*\))?;$")
LEANING = ("The same", "Both")  # comments that lean on the one before
PUBLIC = re.compile(r"(rota|ROTA)_(?!_)\w+$")


@dataclass
class Item:
    """Something that a header declares."""
    kind: str                # function, define, typedef, struct or enum
    name: str
    line: int
    declaration: str         # on one line; of a structure or an enumeration, as many as it has
    parameters: list = field(default_factory=list)
    comment: str = ""
    fields: list = field(default_factory=list)  # (declaration or enumerator, comment)

    @property
    def is_type(self):
        return self.kind in ("typedef", "struct", "enum")

    @property
    def names(self):
        enumerators = [name for name, _ in self.fields] if self.kind == "enum" else []
        return [self.name, *enumerators] if self.name else enumerators


@dataclass
class Block:
    """Declarations that are told of together: no blank line parts them, and no comment that stands for itself."""
    section: str
    items: list = field(default_factory=list)

    @property
    def text(self):
        return "\n".join(text for item in self.items
                         for text in (item.comment, item.declaration, *(comment for _, comment in item.fields)))


@dataclass
class Header:
    name: str                # rota/stream.h
    comment: str
    blocks: list


def plain(element, tag="detaileddescription"):
    """The comment of an element, as it was written."""
    text = "".join(element.find(tag).itertext()).strip()
    return re.sub(r"^ ?\*(?: |$)", "", text, flags=re.MULTILINE)


def flat(element, tag):
    node = element.find(tag)
    return " ".join("".join(node.itertext()).split()) if node is not None else ""


def tidy(declaration):
    """Spaces where the headers have them."""
    declaration = re.sub(r"(\w)\(\*", r"\1 (*", declaration.replace("* ", "*"))
    return " ".join(re.sub(r"\*const\b", "*const ", declaration).split())


def read_function(member):
    kind, name, arguments = member.get("kind"), flat(member, "name"), flat(member, "argsstring")
    parameters = [flat(p, "declname") or flat(p, "defname") for p in member.iter("param")]
    if kind == "define":
        initializer = flat(member, "initializer")
        if member.find("param") is not None:
            declaration = f"{name}({', '.join(parameters)})"
            declaration += ";" if name.islower() else ""
        else:
            constant = initializer and "{" not in initializer and "for " not in initializer
            declaration = f"#define {name} {initializer}" if constant else name
    else:
        declaration = tidy(flat(member, "definition") + (arguments if kind == "function" else "") + ";")
    return Item(kind, name, 0, declaration, parameters)


def read_body(lines, first, last):
    """The source of a structure or enumeration, without comments and private fields."""
    source = re.sub(r"/\*.*?\*/", "", "\n".join(lines[first - 1:last]), flags=re.DOTALL)
    body = source[source.index("{") + 1:source.rindex("}")]
    separators = ",;{}" if "enum" in source[:source.index("{")] else ";{}"
    indent, shown = 1, []
    for part in re.split(rf"(?<=[{separators}])\s*\n", body):
        text = " ".join(part.split())
        indent -= text.startswith("}")
        if text and not PRIVATE_FIELD.search(text):
            shown.append("    " * indent + text)
        indent += text.endswith("{")
    begin, end = source[:source.index("{")].strip(), source[source.rindex("}"):].strip()
    end += "" if end.endswith(";") else ";"
    return "\n".join([begin + " {", *(shown or ["    /* private */"]), end])


def read_enum(member, lines):
    place = member.find("location")
    item = Item("enum", flat(member, "name"), 0,
                read_body(lines, int(place.get("bodystart")), int(place.get("bodyend"))))
    if item.name.startswith("@"):
        item.name = ""
    item.fields = [(flat(v, "name"), plain(v)) for v in member.iter("enumvalue")]
    return item


def read_struct(compound, lines):
    place = compound.find("location")
    item = Item("struct", flat(compound, "compoundname"), 0,
                read_body(lines, int(place.get("bodystart")), int(place.get("bodyend"))))
    for member in compound.iter("memberdef"):
        name = flat(member, "name")
        if plain(member) and not name.startswith("_"):
            item.fields.append((name, plain(member)))
    return item


def merge(items):
    """One item for a type that doxygen knows as a structure and as a typedef."""
    merged = {}
    for item in items:
        other = merged.get(item.name) if item.name else None
        if not other:
            merged[item.name or item.line] = item
            continue
        kept = item if other.kind == "typedef" else other
        kept.comment = item.comment or other.comment
        merged[item.name] = kept
    return sorted(merged.values(), key=lambda item: item.line)


def read_header(compound, structs, root):
    name = compound.find("location").get("file")
    lines = (root / name).read_text().splitlines()
    items = []
    for member in compound.iter("memberdef"):
        item = read_enum(member, lines) if member.get("kind") == "enum" else read_function(member)
        items.append((item, member))
    for struct in structs:
        if struct.find("location").get("file") == name:
            items.append((read_struct(struct, lines), struct))
    found = []
    for item, element in items:
        item.line = int(element.find("location").get("line"))
        item.comment = plain(element)
        if PUBLIC.match(item.name or item.names[0]) and element.get("static") != "yes":
            found.append(item)
    return Header(name, plain(compound), split_blocks(lines, merge(found)))


def split_blocks(lines, items):
    blocks, section, start = [], "", 1
    for number, line in enumerate([*lines, ""], 1):
        if SECTION.match(line):
            section = SECTION.match(line)[1]
        if line.strip():
            continue
        block = None
        for item in (item for item in items if start <= item.line < number):
            if not block or item.comment and not item.comment.startswith(LEANING):
                block = Block(section)
                blocks.append(block)
            block.items.append(item)
        start = number + 1
    return blocks


def read(doxygen, root):
    """All headers under `root`, by name."""
    with tempfile.TemporaryDirectory() as directory:
        settings = (HERE / "Doxyfile").read_text() + f"""
INPUT = "{root}"
STRIP_FROM_PATH = "{root}"
RECURSIVE = YES
INPUT_FILTER = "{sys.executable} {HERE / 'filter.py'}"
OUTPUT_DIRECTORY = "{directory}"
"""
        subprocess.run([doxygen, "-"], input=settings, text=True, check=True)
        compounds = [c for file in sorted(Path(directory).glob("xml/*.xml"))
                     for c in ElementTree.parse(file).getroot().iter("compounddef")]
    files = [c for c in compounds if c.get("kind") == "file"]
    structs = [c for c in compounds if c.get("kind") in ("struct", "union")]
    return [read_header(c, structs, root) for c in files]
