#!/usr/bin/env python3
"""Doxygen's input filter: gives it the plain comments of a header as documentation, word for word.

What stands between @verbatim and @endverbatim is not interpreted. No line moves.
"""

import re
import sys
from pathlib import Path

COMMENT = re.compile(r"^(?P<before>[^\n]*?)/\* (?P<text>(?!----).*?) ?\*/", re.MULTILINE | re.DOTALL)


def main():
    header = Path(sys.argv[1])
    opening = True

    def document(comment):
        nonlocal opening
        before, text = comment["before"], comment["text"]
        mark = "/**<" if before.strip() else "/**"
        what = " @file" if opening else ""
        opening = False
        return f"{before}{mark} @verbatim {text} @endverbatim{what} */"

    sys.stdout.write(COMMENT.sub(document, header.read_text()))


if __name__ == "__main__":
    main()
