"""What a chapter's text claims: sentences with a number or a comparison, and their marks.

A sentence (or a table's row, caption, alternative text) with a number or a comparison must

- take its numbers from the run (``{glue:text}``) or, if they are settings, from the page's code;
- or stand before ``<!-- claim: name -->``, where a cell calls ``claim("name", ...)``;
- or stand before ``<!-- by design -->``: it says what the data, the model or a setting is, or a
  piece of mathematics, and no run could refute it;
- or stand before ``<!-- source -->``, in a cell that cites the work whose figures it quotes.

Captions and alternative texts in a cell's metadata have their marks beside them, in the list
``"claims"`` of the cell's metadata.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

DESIGN, SOURCE = "by design", "source"
MARK = re.compile(r"<!--\s*(claim:\s*[\w, -]+?|by design|source)\s*-->")
TOKEN = re.compile(r"\[\[(.+?)\]\]")

COMPARISON = re.compile(
    r"""\b(
    best|worst|better|worse|winn?s?|winner|beats?|beaten|outperforms?|
    lowest|highest|lower|higher|largest|smallest|larger|smaller|greater|greatest|
    faste(?:st|r)|slowe(?:st|r)|quicke(?:st|r)|cheape(?:st|r)|
    longe(?:st|r)|shorte(?:st|r)|wide(?:st|r)|narrowe(?:st|r)|
    close(?:st|r)|neare(?:st|r)|further|farther|sharpe(?:st|r)|
    few(?:er|est)|less|most|exceeds?|same|equal|equals|equally|identical|indistinguishable|
    twice|thrice|doubles?|halves|(?:half|double|triple)\s+(?:as|the|of)|
    (?:hundreds|thousands|dozens|millions|tens)\s+of|
    than|\S+\s+times|\w+fold
    )\b""",
    re.VERBOSE | re.IGNORECASE,
)  # fmt: skip
NO_COMPARISON = re.compile(
    r"\b(rather than|other than|more than one|at most|at least|at the same time|some ?times|"
    r"all the same|most of all|nonetheless|nevertheless|doubtless|no longer|"
    r"lower (?:left|right|bound|row|panel|half|triangle)|(?:mini|maxi)mum|for the most part)\b",
    re.IGNORECASE,
)
UNIT = r"(?:%|per ?cent|nats?|bits?|seconds?|s\b|ms\b|minutes?|times|fold|standard errors?)"
UNITS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
SCALES = {"dozen": 12, "hundred": 100, "thousand": 1000, "million": 10**6}
WORDS = {w: i for i, w in enumerate(UNITS)} | {w: 20 + 10 * i for i, w in enumerate(TENS)}
NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?(?![\w]|\.\d)")
WORD_NUMBER = re.compile(
    rf"\b(?:(?:{'|'.join([*WORDS, *SCALES])})(?:[ -](?=(?:{'|'.join([*WORDS, *SCALES])})\b))?)+\b",
    re.IGNORECASE,
)
STRUCTURAL = 4  # "two classes", "layer 2": small whole numbers without a unit are not results


@dataclass
class Sentence:
    """One sentence, its marks, and whether the cell cites a source."""

    text: str
    marks: list[str] = field(default_factory=list)
    cited: bool = False

    def finding(self, literals: set[float]) -> str | None:
        """Why this sentence needs a mark, or None. ``literals``: numbers of the page's code."""
        if SOURCE in self.marks and not self.cited:
            return "quotes a source that the cell does not cite"
        if self.marks or self.text.rstrip(' "*)').endswith("?"):
            return None
        plain = NO_COMPARISON.sub(" ", self.text)
        if found := COMPARISON.search(plain):
            return f"comparison {found.group(0)!r}"
        for value, after in numbers(self.text):
            if re.match(rf"\s*{UNIT}", after, re.IGNORECASE):
                return f"result {value:g} {after.split()[0]}"
            if value not in literals and not (value == int(value) and value <= STRUCTURAL):
                return f"number {value:g}"
        return None


def numbers(text: str) -> Iterator[tuple[float, str]]:
    """Every number of a sentence, in digits or words, with what follows it."""
    for found in NUMBER.finditer(text):
        yield float(found.group(0).replace(",", "")), text[found.end() :]
    for found in WORD_NUMBER.finditer(text):
        total, part = 0, 0
        for word in re.split(r"[ -]", found.group(0).lower()):
            if word in SCALES:
                total, part = total + max(part, 1) * SCALES[word], 0
            elif word in WORDS:
                part += WORDS[word]
        yield float(total + part), text[found.end() :]


@dataclass(frozen=True)
class Chapter:
    """A notebook as its sentences, its claims and its code."""

    path: Path

    @property
    def cells(self) -> list[dict]:
        return json.loads(self.path.read_text())["cells"]

    def code(self, *, hidden: bool) -> list[str]:
        """Code cells out of view (``remove-cell``), or those in view."""
        return [
            "".join(cell["source"])
            for cell in self.cells
            if cell["cell_type"] == "code" and is_hidden(cell) == hidden
        ]

    def literals(self) -> set[float]:
        """Every number that stands in the code, and the products of a shape such as 2-5-5-1."""
        found: set[float] = set()
        for source in self.code(hidden=True) + self.code(hidden=False):
            for node in ast.walk(parse(source)):
                if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
                    found.add(abs(float(node.value)))
        return found

    def asserted(self) -> list[str]:
        """Names in ``claim("name", ...)``, in the order of the cells."""
        names = []
        for source in self.code(hidden=True) + self.code(hidden=False):
            for node in ast.walk(parse(source)):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "claim":
                    names.append(ast.literal_eval(node.args[0]))
        return names

    def sentences(self) -> list[Sentence]:
        """All sentences, rows, captions and alternative texts."""
        found = []
        for cell in self.cells:
            source = "".join(cell["source"])
            if cell["cell_type"] == "markdown":
                found += sentences(source)
            elif "mystnb" in cell["metadata"] and not is_hidden(cell):
                meta = cell["metadata"]
                marks = list(meta.get("claims", []))
                caption = meta["mystnb"].get("figure", {}).get("caption", "")
                alt = meta["mystnb"].get("image", {}).get("alt", "")
                text = f"{caption} {alt}"
                found += [
                    Sentence(s.text, s.marks + marks, "{cite" in text)
                    for part in (caption, alt)
                    for s in sentences(part)
                ]
        return found


def is_hidden(cell: dict) -> bool:
    return "remove-cell" in cell["metadata"].get("tags", [])


def parse(source: str) -> ast.Module:
    """Code of a cell without its IPython magics."""
    return ast.parse(re.sub(r"^(\s*)[%!].*$", r"\1pass", source, flags=re.MULTILINE))


def sentences(markdown: str) -> list[Sentence]:
    """Split MyST markdown into sentences without code, formulas and directives' options."""
    cited = "{cite" in markdown
    text = MARK.sub(lambda m: f"[[{m.group(1)}]]", markdown)
    text = re.sub(r"<!--.*?-->", " ", text, flags=re.DOTALL)
    text = "\n".join(_without_fences(text.split("\n")))
    text = re.sub(r"^\([\w-]+\)=$", "", text, flags=re.MULTILINE)
    text = re.sub(r"\$\$.*?\$\$", " FORMULA ", text, flags=re.DOTALL)
    text = re.sub(r"\$[^$]+\$", "FORMULA", text)
    text = re.sub(r"\{glue:text\}`[^`]+`", "RESULT", text)
    text = re.sub(r"\{term\}`([^`<]+?)(\s*<[^`]*>)?`", r"\1", text)
    text = re.sub(r"\{[\w:]+\}`[^`]+`", "REFERENCE", text)
    text = re.sub(r"`[^`]*`", "CODE", text)
    found = []
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*|#]|\d+\.)\s)", text):
        block = re.sub(r"^\s*(?:[-*]|\d+\.)\s+|^#+\s+", "", block.strip())
        if not re.search(r"\w", block):
            continue
        block = " ".join(block.split())
        while (moved := re.sub(r"([.!?:][\"”*)]*)\s*(\[\[.+?\]\])", r" \2\1", block)) != block:
            block = moved
        parts = [block] if block.startswith("|") else re.split(r"(?<=[.!?])[\"”*)]*\s+", block)
        for part in parts:
            names = [n for m in TOKEN.findall(part) for n in _names(m)]
            plain = TOKEN.sub("", part).strip()
            if plain or names:
                found.append(Sentence(plain, names, cited))
    return found


def _without_fences(lines: list[str]) -> Iterator[str]:
    """Lines without code blocks and fences; of directives the title, alternative text and body."""
    inside: list[tuple[str, bool]] = []  # open fences, and whether they hold code
    for line in lines:
        fence = re.match(r"(`{3,}|:{3,})(\{[\w:-]+\})?[ ]*(.*)$", line)
        if inside and line.strip() == inside[-1][0]:
            inside.pop()
            yield ""
        elif fence and not (inside and inside[-1][1]):
            inside.append((fence[1], fence[2] is None))
            yield ""
            if fence[2] is not None and "solution" not in fence[2] and "glue" not in fence[2]:
                yield f"{fence[3]}\n"
        elif inside and inside[-1][1]:
            continue
        elif option := re.match(r":(\w+):[ ]*(.*)$", line):
            yield f"\n{option[2]}\n" if option[1] == "alt" else ""
        else:
            yield line


def _names(mark: str) -> list[str]:
    if not mark.startswith("claim:"):
        return [mark]
    return [name.strip() for name in mark.removeprefix("claim:").split(",")]
