from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.conftest import Saelex
from tests.concepts.neuronpedia_site import SOURCE, Answer, Site, running_site

from saelex.concepts.concept import Concept
from saelex.encoder.encoder import Encoder
from saelex.index.index import Index


def test_concepts_of_a_text_and_one_of_them(saelex: Saelex, index: Path, tmp_path: Path) -> None:
    fired = json.loads(saelex("concepts", index, "zip archive", "--json").out)["concepts"]
    assert fired and set(fired[0]) == {"latent", "label", "weight", "words", "context", "density"}
    latent = fired[0]["latent"]
    lines = saelex("concepts", index, "zip archive").out.splitlines()
    assert len(lines) == len(fired) and f"#{latent}" in lines[0]
    view = json.loads(saelex("concept", index, f"#{latent}", "--json").out)
    assert view["latent"] == latent and view["neighbours"]
    shown = saelex("concept", index, latent).out
    assert shown.startswith(f"#{latent}  ") and "near it" in shown
    assert saelex("concept", index, "999999999").err.count("\n") == 1


def test_labels_are_exported_edited_and_imported(saelex: Saelex, index: Path, tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    saelex("label", index, "--no-judge")
    assert "labels\n" in saelex("label", index, "--export", file).out
    lines = file.read_text().splitlines()
    record = json.loads(lines[1])
    lines[1] = json.dumps({"latent": record["latent"], "label": "My Label"})
    file.write_text("\n".join(lines) + "\n")
    saelex("label", index, "--import", file)
    assert "My Label (named by a user)" in saelex("concept", index, "my label").out
    assert "two runs" in saelex("label", index, "--import", file, "--export", file).err


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("SAELEX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("saelex.concepts.neuronpedia._INTERVAL", 0.0)
    with running_site() as running:
        monkeypatch.setattr("saelex.concepts.neuronpedia.NEURONPEDIA", running.address)
        yield running


def used_latents(index: Path) -> list[int]:
    """The latents that fire in the index, those of most passages first."""
    with Index.open(index) as opened:
        fired = Counter(latent for firing in opened.firings() for latent in firing.latents.tolist())
    return sorted(fired, key=lambda latent: (-fired[latent], latent))


def test_published_labels_are_fetched_shown_and_kept(saelex: Saelex, index: Path, site: Site) -> None:
    saelex("label", index, "--no-judge")
    latents = used_latents(index)
    first, second, *others = latents
    for latent in latents:
        site.shows(latent, f"published {latent}")
    derived = json.loads(saelex("concept", index, first, "--json").out)["label"]
    named = ("label", index, "--published", "--neuronpedia", SOURCE)
    made = saelex(*named, "--most", 2)
    assert made.out == (
        f"{index}: 2 concepts have a published label (2 asked now)\n{len(others)} latents are left: ask again, for "
        "more with --most, or take all of them from an export (--published-from)\n"
    )
    assert site.asked_latents == [first, second]
    assert saelex(*named).out == f"{index}: {len(latents)} concepts have a published label ({len(others)} asked now)\n"
    assert site.asked_latents == latents
    page = f"https://www.neuronpedia.org/{SOURCE}/{first}"
    shown = f"#{first}  published {first} (published)\n"
    beside = f"  published: published {first} (by gpt-4o-mini)  {page}\n  derived: {derived}\n"
    view = saelex("concept", index, first).out
    assert view.startswith(shown) and beside in view
    assert json.loads(saelex("concept", index, f"published {first}", "--json").out)["page"] == page
    saelex("label", index, "--no-judge")  # derived again
    assert beside in saelex("concept", index, first).out
    own = index.parent / "own.jsonl"
    saelex("label", index, "--export", own)
    own.write_text(own.read_text().splitlines()[0] + "\n" + json.dumps({"latent": first, "label": "Mine"}) + "\n")
    saelex("label", index, "--import", own)
    saelex(*named)
    view = saelex("concept", index, first).out
    assert view.startswith(f"#{first}  Mine (named by a user)\n  fires in ") and f"published {first} (by" in view


def test_an_encoder_tells_where_its_latents_are_published(
    saelex: Saelex, corpus: Path, model: Path, tmp_path: Path, site: Site
) -> None:
    encoder = Encoder.load(model)
    encoder.description["neuronpedia"] = SOURCE
    encoder.save_pretrained(tmp_path / "model")
    index = tmp_path / "told.saelex"
    assert saelex("index", corpus, index, "--model", tmp_path / "model", "--no-labels").code == 0
    first, *_ = used_latents(index)
    site.shows(first, "wings")
    assert "1 concepts have a published label" in saelex("label", index, "--published").out
    assert saelex("concept", index, first).out.startswith(f"#{first}  wings (published)\n")


def test_a_fetch_that_is_stopped_says_so_and_keeps_what_it_has(saelex: Saelex, index: Path, site: Site) -> None:
    first, second, *_ = used_latents(index)
    site.shows(first, "wings")
    site.answers[second] = [Answer(429, headers=(("Retry-After", "3600"),))]
    stopped = saelex("label", index, "--published", "--neuronpedia", SOURCE)
    assert stopped.code == 2 and "1 concepts have a published label (1 asked now)" in stopped.out
    assert stopped.err.splitlines()[-1].endswith(
        "left alone for 3,600 seconds); what was found is stored and kept, and another run asks for the rest"
    )
    assert saelex("concept", index, first).out.startswith(f"#{first}  wings (published)\n")


def test_where_nothing_can_be_fetched_nothing_changes(saelex: Saelex, index: Path, site: Site) -> None:
    with Index.open(index) as opened:
        before = None if opened.concepts is None else list(opened.concepts)
    unknown = saelex("label", index, "--published")
    assert (unknown.code, unknown.err.count("\n")) == (2, 1) and "--neuronpedia MODEL/SOURCE" in unknown.err
    wrong = saelex("label", index, "--published", "--neuronpedia", "gemma")
    assert wrong.code == 2 and "'gemma' is no model/source of Neuronpedia" in wrong.err
    missing = saelex("label", index, "--published", "--neuronpedia", SOURCE)
    assert missing.code == 2 and f"of {SOURCE}, nor any other that was asked for" in missing.err
    assert "two runs" in saelex("label", index, "--published", "--published-from", "x.jsonl").err
    assert "is for --published" in saelex("label", index, "--neuronpedia", SOURCE).err
    with Index.open(index) as opened:
        assert before == (None if opened.concepts is None else list(opened.concepts))


def test_published_labels_are_taken_from_exports(saelex: Saelex, index: Path, tmp_path: Path) -> None:
    latent = used_latents(index)[0]
    model, layer = SOURCE.split("/")
    record = {"modelId": model, "layer": layer, "index": str(latent), "description": "wings"}
    (tmp_path / "batch-0.jsonl.gz").write_bytes(gzip.compress(json.dumps(record).encode()))
    taken = ("label", index, "--published-from", tmp_path / "batch-0.jsonl.gz", "--neuronpedia")
    assert saelex(*taken, SOURCE).out == f"{index}: 1 concepts have a published label\n"
    assert saelex("concept", index, latent).out.startswith(f"#{latent}  wings (published)\n")
    other = saelex(*taken, "gemma-2-2b/17-gemmascope-res-65k")
    assert other.code == 2 and f"batch-0.jsonl.gz:1: is of {SOURCE}, but the latents are those of" in other.err


def test_labels_are_shown_in_the_language_that_is_asked_for(saelex: Saelex, index: Path) -> None:
    with Index.open(index) as opened:
        latent = opened.search("zip archive", 1, words=False)[0].explain().contributions[0].latent
        labels = {"de": "Archiv", "en": "archive"}
        opened.write_concepts([Concept(latent, "archive · Archiv", (), (), 0.5, 1.0, labels=labels)])
    view = saelex("concept", index, latent)
    assert view.out.startswith(f"#{latent}  archive · Archiv\n") and view.err == ""
    assert "  in de: Archiv\n  in en: archive\n" in view.out
    assert saelex("concept", index, latent, "--language", "de").out.startswith(f"#{latent}  Archiv\n")
    assert "  Archiv  (" in saelex("concepts", index, "zip archive", "--language", "de").out
    assert "  Archiv #" in saelex("explain", index, "zip archive", "zip", "--language", "de").out
    found = json.loads(saelex("search", index, "zip archive", "--language", "de", "--json").out)
    rows = [row for hit in found["hits"] for row in hit["explanation"] if row["latent"] == latent]
    assert rows and all(row["label"] == "Archiv" for row in rows)
    lacking = saelex("search", index, "zip archive", "--language", "fr", "--explain")
    assert lacking.code == 0 and "archive · Archiv" in lacking.out
    assert lacking.err == "saelex: no labels in fr here, only in de, en; those of the whole corpus are shown\n"
    for verb in ("search", "concepts"):
        wrong = saelex(verb, index, "zip", "--language", "xx")
        assert wrong.code == 2 and wrong.err.startswith("saelex: labels: unknown language 'xx'; choose one of ar, ")
        assert wrong.err.count("\n") == 1


def test_label_says_which_languages_there_are(saelex: Saelex, model: Path, tmp_path: Path) -> None:
    sentences = {
        "en": "The wing of an aircraft creates lift because the air is faster above it",
        "de": "Der Flügel eines Flugzeugs erzeugt Auftrieb, weil die Luft oben schneller strömt",
    }
    rows = [{"_id": f"{code}{i}", "text": f"{text}: {i}"} for code, text in sentences.items() for i in range(8)]
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = saelex("index", corpus, tmp_path / "i", "--model", model, "--language", "auto", "--no-labels")
    assert made.code == 0, made.err
    assert saelex("label", tmp_path / "i", "--no-judge").out.endswith(
        "concepts have a label, some of them others in de, en\n"
    )
    assert saelex("label", tmp_path / "i", "--no-judge", "--language", "en").out.endswith("concepts have a label\n")
    with Index.open(tmp_path / "i") as opened:
        assert opened.concepts is not None and opened.concepts.languages == ()
