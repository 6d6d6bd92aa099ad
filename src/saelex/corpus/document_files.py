"""Files that are one document each: Markdown, plain text, HTML, PDF, DOCX, alone or in a folder.

| ending | title | text |
| --- | --- | --- |
| `.md`, `.markdown` | the front matter's `title`, else the first heading | the source, without the front matter |
| `.txt`, `.text`, `.rst` | none | all of it |
| `.html`, `.htm`, `.xhtml` | `<title>`, else the first `<h1>` | the body's text, a line a block; no scripts, styles |
| `.pdf` | the file's own | the pages' text, pages apart by an empty line |
| `.docx` | the file's own | paragraphs and the cells of tables, in their order |

The first three may be gzipped. HTML is read by selectolax, PDF by pypdf, DOCX by python-docx: the extra files. What
they raise for a damaged file is one InputError. A document has at most `lines.max_record` of text; a PDF or DOCX may
be `UNPACKED` times as large, since it holds pictures, and a PDF has at most `MAX_PAGES`. HTML may nest `MAX_DEPTH`
deep: its parser's time grows with the square of the depth.
"""

from __future__ import annotations

import codecs
import logging
import os
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from saelex.corpus.documents import Document
from saelex.corpus.lines import max_record, open_bytes, read_whole, suffix_of, too_large
from saelex.errors import InputError
from saelex.installation import needs_extra

logger = logging.getLogger(__name__)

UNPACKED = 16
MAX_PAGES = 20_000
MAX_DEPTH = 2_000

_FRONT_MATTER = re.compile(r"---[ \t]*\r?\n(.*?)^(?:---|\.\.\.)[ \t]*$\r?\n?", re.DOTALL | re.MULTILINE)
_FENCE = re.compile(r" {0,3}(```+|~~~+)")
_HEADING = re.compile(r" {0,3}#{1,6}[ \t]+(.*?)(?:[ \t]+#*)?[ \t]*")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*")
_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
_BLOCKS = (
    "address,article,aside,blockquote,br,caption,dd,details,div,dl,dt,fieldset,figcaption,figure,footer,form,h1,h2,h3,"
    "h4,h5,h6,header,hr,li,main,nav,ol,option,p,pre,section,summary,table,tr,ul"
)
# what HTML closes by itself, or never opens; and what makes characters bold, whose depth costs nothing
_UNNESTED = re.compile(
    "a|area|b|base|br|col|colgroup|dd|dt|em|embed|font|hr|i|img|input|li|link|meta|option|p|s|small|source|strong|tbody|"
    "td|tfoot|th|thead|tr|track|u|wbr"
)
_TAG = re.compile(r"<(/?)([a-zA-Z][^\s/>]*)")
_UNSEEN = ["script", "style", "template", "noscript", "svg", "head"]


class _Content(NamedTuple):
    title: str
    text: str


def documents_of_files(source: Path) -> Iterator[tuple[str, Document]]:
    """The document of a file, whose id is its name, or those of a folder and all below it, by their paths in it.

    Each after its path. In ascending order of ids; hidden files and folders are left out, and files of other kinds and
    links to folders, whose number is logged, and in a folder those that hold no text, which are logged by name.
    Metadata: `format` (the ending without its dot). Raises InputError at once for a folder without such files, and
    naming the file for one that cannot be read.
    """
    if not source.is_dir():
        return _read([source], source.parent)
    files = sorted(_visible(source), key=lambda path: path.relative_to(source).as_posix())
    kept = [path for path in files if suffix_of(path) in DOCUMENT_SUFFIXES and path.is_file()]
    if not kept:
        known = ", ".join(sorted(DOCUMENT_SUFFIXES))
        raise InputError(f"{source}: not a BEIR folder (no corpus.jsonl), and holds no documents ({known})")
    if others := Counter(map(_kind, set(files).difference(kept))):
        kinds = ", ".join(f"{count} {kind}" for kind, count in others.most_common(5))
        logger.warning("%s: %d files of other kinds are left out (%s)", source, others.total(), kinds)
    # an empty note or a scanned page is no reason to have none of the others
    return (entry for entry in _read(kept, source) if entry[1].content)


def _kind(path: Path) -> str:
    return "link to a folder" if path.is_dir() else suffix_of(path) or path.name


def _visible(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename}: cannot be read: {error.strerror}") from error

    for below, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        links = [name for name in folders if (Path(below) / name).is_symlink()]  # which may lead round and round
        yield from (Path(below) / name for name in (*names, *links) if not name.startswith("."))


def _read(files: Iterable[Path], root: Path) -> Iterator[tuple[str, Document]]:
    for path in files:
        content = _READERS[suffix_of(path)](path)
        name = path.relative_to(root).as_posix()
        if any("\ud800" <= character <= "\udfff" for character in name):  # a file name that is not UTF-8
            raise InputError(f"{root}: the file name {name!r} is not UTF-8, and so no id; rename it")
        if not content.text.strip():
            logger.warning("%s: holds no text%s", path, " (scanned?)" if suffix_of(path) == ".pdf" else "")
        yield str(path), Document(name, content.text, content.title, {"format": suffix_of(path)[1:]})


# ---- one kind a function ------------------------------------------------------------------------------------------


def _plain(path: Path) -> _Content:
    return _Content("", _decoded(path, read_whole(path)))


def _markdown(path: Path) -> _Content:
    text = _decoded(path, read_whole(path))
    title = ""
    if matter := _FRONT_MATTER.match(text):
        named = re.search(r"^title:[ \t]*(.+?)[ \t]*$", matter[1], re.MULTILINE)
        title = named[1].strip("\"'") if named else ""
        text = text[matter.end() :].lstrip("\r\n")
    return _Content(title or _first_heading(text.splitlines()), text)


def _first_heading(lines: Iterable[str]) -> str:
    """The first heading that is not in a fenced block: `# Title`, or a line that is underlined."""
    fence, before = "", ""
    for line in lines:
        if found := _FENCE.match(line):
            if not fence:
                fence = found[1]
            elif found[1].startswith(fence):
                fence = ""
        elif fence:
            continue
        elif heading := _HEADING.fullmatch(line):
            return heading[1]
        elif before and _UNDERLINE.fullmatch(line):
            return before
        before = "" if found or line.startswith(("    ", "\t", "- ", "* ", "> ", "|")) else line.strip()
    return ""


def _html(path: Path) -> _Content:
    raw = read_whole(path)
    with _one_error(path, "HTML"):
        try:
            from selectolax.lexbor import LexborHTMLParser
        except ImportError as error:
            raise needs_extra(f"{path}: HTML", "selectolax", "files") from error
        source = _decoded(path, raw, html=True)
        _check_depth(source)
        page = LexborHTMLParser(source)
        heading = page.css_first("title") or page.css_first("h1")
        title = _one_line(heading.text()) if heading else ""
        page.strip_tags(_UNSEEN)
        for block in page.css(_BLOCKS):
            block.insert_before("\n")
            block.insert_after("\n")
        for cell in page.css("td,th"):
            cell.insert_after(" ")
        lines = map(_one_line, (page.body.text() if page.body else "").splitlines())
        return _Content(title, "\n".join(filter(None, lines)))


def _check_depth(source: str) -> None:
    """Raises ValueError where more than `MAX_DEPTH` elements would be open at once."""
    opened: Counter[str] = Counter()
    depth = 0
    for closes, tag in _TAG.findall(source):
        name = tag.lower()
        if _UNNESTED.fullmatch(name) or (closes and not opened[name]):
            continue
        step = -1 if closes else 1
        opened[name] += step
        depth += step
        if depth > MAX_DEPTH:
            raise ValueError(f"more than {MAX_DEPTH:,} elements that are not closed; is it HTML?")


def _pdf(path: Path) -> _Content:
    with _packed(path, "PDF") as file:
        try:
            import pypdf
        except ImportError as error:
            raise needs_extra(f"{path}: PDF", "pypdf", "files") from error
        logging.getLogger("pypdf").setLevel(
            logging.ERROR
        )  # it warns of every slip of a file that it can read all the same
        reader = pypdf.PdfReader(file)
        if reader.is_encrypted and not reader.decrypt(""):
            raise InputError(f"{path}: is encrypted; save it without a password")
        if len(reader.pages) > MAX_PAGES:
            raise InputError(f"{path}: {len(reader.pages):,} pages; at most {MAX_PAGES:,} are read, so split it")
        title = reader.metadata.title if reader.metadata else None
        return _Content(_one_line(title or ""), _joined(path, (page.extract_text() for page in reader.pages), "\n\n"))


def _docx(path: Path) -> _Content:
    with _packed(path, "DOCX") as file:
        try:
            import docx
        except ImportError as error:
            raise needs_extra(f"{path}: DOCX", "python-docx", "files") from error
        with zipfile.ZipFile(
            file
        ) as archive:  # sizes are what it says: a member that has more is cut there, and damaged
            sizes = [(member.file_size, member.filename.endswith((".xml", ".rels"))) for member in archive.infolist()]
        if sum(size for size, _ in sizes) > UNPACKED * max_record():
            raise too_large(str(path), f"an archive that unpacks to {UNPACKED} times the bound, a document")
        if sum(size for size, is_xml in sizes if is_xml) > 2 * max_record():
            raise too_large(str(path), "XML of twice the bound, a document")
        opened = docx.Document(file)
        return _Content(_one_line(opened.core_properties.title or ""), _joined(path, _blocks(opened), "\n"))


def _blocks(container: Any) -> Iterator[str]:
    """Paragraphs, and tables row by row, cells apart by a tab."""
    for block in container.iter_inner_content():
        if hasattr(block, "rows"):
            for row in block.rows:
                yield "\t".join(_one_line(cell.text) for cell in row.cells)
        else:
            yield block.text


_READERS: dict[str, Callable[[Path], _Content]] = {
    **dict.fromkeys((".md", ".markdown"), _markdown),
    **dict.fromkeys((".txt", ".text", ".rst"), _plain),
    **dict.fromkeys((".html", ".htm", ".xhtml"), _html),
    ".pdf": _pdf,
    ".docx": _docx,
}
DOCUMENT_SUFFIXES = set(_READERS)


# ---- what they share ------------------------------------------------------------------------------------------------


@contextmanager
def _one_error(path: Path, kind: str) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # a damaged file may make its library raise anything
        reason = (str(error).strip().splitlines() or [""])[0] or type(error).__name__
        raise InputError(f"{path}: not a readable {kind} file: {reason[:200]}") from error


@contextmanager
def _packed(path: Path, kind: str) -> Iterator[Any]:
    if path.suffix.lower() == ".gz":
        raise InputError(f"{path}: a {kind} file is not read from gzip; unpack it")
    with open_bytes(path) as file, _one_error(path, kind):
        if path.stat().st_size > UNPACKED * max_record():
            raise too_large(str(path), f"a file of {UNPACKED} times the bound, a document")
        yield file


def _joined(path: Path, parts: Iterable[str], separator: str) -> str:
    kept: list[str] = []
    length = 0
    for part in parts:
        kept.append(part)
        length += len(part) + len(separator)
        if length > max_record():
            raise too_large(str(path), "a document")
    return _without_surrogates(separator.join(kept))


def _without_surrogates(text: str) -> str:
    """Halves of pairs, which are no characters, replaced: some PDFs' fonts give them."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _decoded(path: Path, raw: bytes, *, html: bool = False) -> str:
    """By a byte order mark, what an HTML page says of itself, or else UTF-8."""
    encoding = "utf-8-sig"
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif html and not raw.startswith(codecs.BOM_UTF8) and (named := _CHARSET.search(raw[:2048])):
        encoding = named[1].decode("ascii").lower()
        encoding = "utf-8" if encoding.startswith("utf-16") else encoding  # or the tag could not be read, HTML says
    try:
        return raw.decode(encoding)
    except (LookupError, ValueError) as error:
        raise InputError(
            f"{path}: not text in {encoding.removesuffix('-sig').upper()}: {error}; save it as UTF-8"
        ) from error
