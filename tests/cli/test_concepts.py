from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Saelex

from saelex.concepts.concept import Concept
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
