from __future__ import annotations

import gzip
import io
import logging
import zipfile
from pathlib import Path

import pytest

from saelex.corpus.documents import Document
from saelex.corpus.reading import read_corpus
from saelex.errors import InputError

PAGE = """<!doctype html><html><head><title>Wings &amp;
lift</title><style>p {}</style></head><body><h1>Heading</h1><p>one<br>two <b>bo</b>ld</p>tail<script>no</script>
<ul><li>a<li>b</ul><img alt="x > y"><table><tr><td>1</td><td>2</td></tr></table></body></html>"""


def one(path: Path, content: str | bytes) -> Document:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    (document,) = read_corpus(path)
    return document


def pdf(text: str = "Hello wings", *, pages: int = 1) -> bytes:
    """A PDF of pages that all say the same."""
    drawn = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode()
    kids = b" ".join([b"3 0 R"] * pages)
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Count %d/Kids[%s]>>" % (pages, kids),
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(drawn), drawn),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        b"<</Title(A title)>>",
    ]
    file, places = b"%PDF-1.4\n", list[int]()
    for number, content in enumerate(objects, start=1):
        places.append(len(file))
        file += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"trailer<</Size 7/Root 1 0 R/Info 6 0 R>>\nstartxref\n%d\n%%%%EOF" % len(file)
    return file + b"xref\n0 7\n0000000000 65535 f \n" + table + end


@pytest.mark.parametrize(
    ("content", "title", "text"),
    [
        ("# Head #\n\nbody", "Head", "# Head #\n\nbody"),
        ("```sh\n# comment\n```\nSet\n===\nx", "Set", "```sh\n# comment\n```\nSet\n===\nx"),
        ("---\ntitle: 'Front'\nlang: en\n---\n\n# Head\nx", "Front", "# Head\nx"),
        ("plain\n\n---\nmore", "", "plain\n\n---\nmore"),
        ("", "", ""),
    ],
)
def test_markdown(tmp_path: Path, content: str, title: str, text: str) -> None:
    assert one(tmp_path / "m.md", content) == Document("m.md", text, title, {"format": "md"})


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_plain_text_by_its_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    assert one(tmp_path / "t.txt", "naïve".encode(encoding)) == Document("t.txt", "naïve", "", {"format": "txt"})


def test_text_in_another_encoding_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"t\.txt: not text in UTF-8: .*; save it as UTF-8"):
        one(tmp_path / "t.txt", "naïve".encode("latin-1"))


def test_a_folder_is_its_documents_by_their_paths(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = {"b.md": "# B", "a/z.txt": "z", "a/y.MD": "y", ".hidden.md": "no", ".git/x.md": "no", "p.png": "no"}
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    with caplog.at_level(logging.WARNING):
        documents = list(read_corpus(tmp_path))
    assert [(document.id, document.title) for document in documents] == [("a/y.MD", ""), ("a/z.txt", ""), ("b.md", "B")]
    assert "1 files of other kinds are left out (1 .png)" in caplog.text
    (tmp_path / "a" / "round").symlink_to(tmp_path)
    assert len(list(read_corpus(tmp_path))) == 3
    (tmp_path / "a" / "void.md").write_text(" \n")
    assert len(list(read_corpus(tmp_path))) == 3
    assert "void.md: holds no text" in caplog.text
    assert "2 files of other kinds are left out (" in caplog.text and "1 link to a folder" in caplog.text
    with pytest.raises(InputError, match="fields can be named for JSONL, CSV and TSV"):
        read_corpus(tmp_path, text_field="body")
    (tmp_path / "corpus.jsonl").write_text('{"id": "1", "text": "x"}\n')
    assert [document.id for document in read_corpus(tmp_path)] == ["1"]  # BEIR's folder


def test_html(tmp_path: Path) -> None:
    pytest.importorskip("selectolax")
    document = one(tmp_path / "p.html", PAGE)
    assert document.title == "Wings & lift"
    assert document.text.splitlines() == ["Heading", "one", "two bold", "tail", "a", "b", "1 2"]
    assert one(tmp_path / "q.htm", '<meta charset="iso-8859-1"><h1>naïve</h1>'.encode("latin-1")).title == "naïve"
    assert one(tmp_path / "r.html", "just text").text == "just text"
    with pytest.raises(InputError, match="not text in NOPE"):
        one(tmp_path / "s.html", "<meta charset=nope>x")
    with pytest.raises(InputError, match="more than 2,000 elements that are not closed"):
        one(tmp_path / "t.html", "<div></b>" * 3000)


def test_pdf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pypdf")
    assert one(tmp_path / "a.pdf", pdf(pages=2)) == Document(
        "a.pdf", "Hello wings\n\nHello wings", "A title", {"format": "pdf"}
    )
    for damaged in (b"", b"no", pdf()[:300]):
        with pytest.raises(InputError, match=r"b\.pdf: not a readable PDF file: .+"):
            one(tmp_path / "b.pdf", damaged)
    monkeypatch.setattr("saelex.corpus.document_files.MAX_PAGES", 2)
    with pytest.raises(InputError, match="3 pages; at most 2 are read"):
        one(tmp_path / "c.pdf", pdf(pages=3))
    monkeypatch.setenv("SAELEX_MAX_RECORD_MB", "1")
    with pytest.raises(InputError, match="a document of more than 1 MiB"):
        one(tmp_path / "d.pdf", pdf("a" * 600_000, pages=2))
    with pytest.raises(InputError, match=r"e\.pdf\.gz: a PDF file is not read from gzip; unpack it"):
        one(tmp_path / "e.pdf.gz", gzip.compress(pdf(pages=1)))


def test_a_pdf_without_text_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("pypdf")
    with caplog.at_level(logging.WARNING):
        assert one(tmp_path / "a.pdf", pdf("")).text == ""
    assert "a.pdf: holds no text (scanned?)" in caplog.text


def test_docx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docx = pytest.importorskip("docx")
    made = docx.Document()
    made.core_properties.title = "Wings"
    made.add_heading("Heading")
    table = made.add_table(1, 2)
    table.cell(0, 0).text, table.cell(0, 1).text = "x", "y"
    made.add_paragraph("end")
    packed = io.BytesIO()
    made.save(packed)
    whole = packed.getvalue()
    assert one(tmp_path / "a.docx", whole) == Document("a.docx", "Heading\nx\ty\nend", "Wings", {"format": "docx"})
    for damaged in (b"", b"no", whole[:500]):
        with pytest.raises(InputError, match=r"b\.docx: not a readable DOCX file: .+"):
            one(tmp_path / "b.docx", damaged)
    monkeypatch.setenv("SAELEX_MAX_RECORD_MB", "1")
    for name, size, message in [("word/bomb.png", 1 << 25, "16 times the bound"), ("word/x.xml", 1 << 22, "twice the")]:
        bomb = io.BytesIO(whole)
        with zipfile.ZipFile(bomb, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, b"\0" * size)
        with pytest.raises(InputError, match=message):
            one(tmp_path / "c.docx", bomb.getvalue())


@pytest.mark.parametrize(
    ("ending", "module", "package"),
    [("html", "selectolax.lexbor", "selectolax"), ("pdf", "pypdf", "pypdf"), ("docx", "docx", "python-docx")],
)
def test_without_the_package_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, module: str, package: str
) -> None:
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(InputError, match=rf"{ending.upper()} needs {package}; install it with: .*install"):
        one(tmp_path / f"x.{ending}", PAGE)
