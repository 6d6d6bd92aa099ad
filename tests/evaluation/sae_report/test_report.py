"""A report on tiny models, against Hugging Face's states and plain formulas."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from tests.encoder.tiny_models import D_MODEL, TEXTS, tiny_checkpoint
from transformers import AutoModelForCausalLM, AutoTokenizer

from saelex.encoder.backbone.backbone import Backbone
from saelex.errors import InputError, MismatchError
from saelex.evaluation.sae_report import ReportSettings, report_saes
from saelex.evaluation.sae_report.backbone import backbone_of
from saelex.sae.activations import TopK
from saelex.sae.autoencoder import SparseAutoencoder
from saelex.sae.config import SaeConfig
from saelex.training.text_settings import TokenStates

LAYER, K, N_LATENTS = 1, 5, 90
# markup in the texts must not become markup in the page
WRITTEN = (*TEXTS, "a <b>bold</b> & <script>alert('x')</script> text about lift")


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return tiny_checkpoint("llama", tmp_path_factory.mktemp("models") / "tiny-llama", language_model=True)


def sae(folder, seed=3, layer=LAYER, **config):
    generator = torch.Generator().manual_seed(seed)
    W = torch.randn(D_MODEL, N_LATENTS, generator=generator) / D_MODEL**0.5
    W[:, 7] = 0  # never among the strongest
    return SparseAutoencoder(
        W,
        -0.01 * torch.ones(N_LATENTS),
        W.T.clone(),
        torch.zeros(D_MODEL),
        TopK(K),
        SaeConfig(D_MODEL, N_LATENTS, model_name=str(folder), layer=layer, source=f"suite/of-{seed}", **config),
    )


def states_of(folder):
    """States of all tokens but BOS after the block, text after text, with text number and place of each."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    states, where = [], []
    for number, text in enumerate(WRITTEN):
        ids = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            hidden = model(**ids, output_hidden_states=True).hidden_states[LAYER + 1][0]
        states.append(hidden[1:])
        where += [(number, place) for place in range(1, len(hidden))]
    return torch.cat(states), where


def plain(sae, states):
    pre = states @ sae.W_enc + sae.b_enc
    top = pre.topk(K, dim=1)
    latents = torch.zeros_like(pre).scatter(1, top.indices, top.values.relu())
    return latents.detach().numpy(), (latents @ sae.W_dec).detach().numpy()


@pytest.fixture(scope="module")
def written(llama, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports") / "report"
    backbone = Backbone.load(llama, layer=LAYER, bidirectional=False)
    settings = ReportSettings(states=TokenStates(token_budget=60), examples=4, densest=3, contexts=2)
    report = report_saes(
        [sae(llama), sae(llama, seed=4)], backbone, lambda: iter(WRITTEN), folder, settings,
        corpora=["some/where/texts.jsonl"], command="saelex sae report <x>",
    )  # fmt: skip
    return folder, report


def test_figures_equal_the_formulas(llama, written):
    states, _ = states_of(llama)
    for own, found in zip([sae(llama), sae(llama, seed=4)], written[1]["saes"]):
        latents, rebuilt = plain(own, states)
        x = states.numpy()
        metrics = found["metrics"]
        fvu = ((x - rebuilt) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()
        np.testing.assert_allclose(metrics["fvu"], fvu, rtol=1e-4)
        assert metrics["tokens"] == len(x) == written[1]["texts"]["tokens"]
        assert metrics["l0"] == pytest.approx((latents > 0).sum(1).mean(), rel=1e-3)
        assert metrics["dead_share"] == pytest.approx((latents.max(0) == 0).mean(), abs=1e-6)
        assert sum(found["density_histogram"]["counts"]) == (latents.max(0) > 0).sum()
        assert sum(found["l0_histogram"]["counts"]) == sum(found["cosine_histogram"]["counts"]) == len(x)
    assert written[1]["texts"] == {"corpora": ["texts.jsonl"], "texts": len(WRITTEN), "tokens": len(states)}


def test_contexts_are_where_the_latents_fire_most(llama, written):
    tokenizer = AutoTokenizer.from_pretrained(llama)
    states, where = states_of(llama)
    latents, _ = plain(sae(llama), states)
    shown = written[1]["examples"] + written[1]["densest"]
    assert len(written[1]["examples"]) == 4 and len(written[1]["densest"]) == 3
    for latent in shown:
        column = latents[:, latent["latent"]]
        assert latent["density"] == pytest.approx((column > 0).mean())
        assert latent["mean_activation"] == pytest.approx(column[column > 0].mean(), rel=1e-3)
        number, place = where[int(column.argmax())]
        best = latent["contexts"][0]
        assert best["activation"] == pytest.approx(column.max(), rel=1e-3)
        start, end = tokenizer(WRITTEN[number], return_offsets_mapping=True)["offset_mapping"][place]
        assert best["token"] == WRITTEN[number][start:end]
        assert (best["before"] + best["token"] + best["after"]).strip(" …") in WRITTEN[number]
    densities = [latent["density"] for latent in written[1]["densest"]]
    assert densities == sorted((latents > 0).mean(0), reverse=True)[:3]


def test_loss_recovered_is_in_the_report(written):
    for found in written[1]["saes"]:
        loss = found["loss"]
        assert loss["objective"] == "next token" and loss["ablation"] == "zero"
        assert loss["recovered"] == (loss["ablated"] - loss["spliced"]) / (loss["ablated"] - loss["clean"])
    assert written[1]["saes"][0]["loss"]["clean"] == written[1]["saes"][1]["loss"]["clean"]
    assert written[1]["no_loss"] == ""


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.links = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "xlink:href")]


def test_the_page_stands_alone_and_holds_what_was_measured(written):
    folder, report = written
    assert sorted(path.name for path in folder.iterdir()) == ["index.html", "report.json"]
    assert json.loads((folder / "report.json").read_text()) == json.loads(json.dumps(report))
    text = (folder / "index.html").read_text()
    page = Page(text)
    assert "script" not in page.tags and all(link.startswith("#") for link in page.links)
    assert page.tags.count("svg") == 4  # no training log, so no curves
    assert "saelex sae report &lt;x&gt;" in text and "<b>bold" not in text
    for found in report["saes"]:
        assert f"{found['metrics']['fvu']:.4f}" in text and f"{found['loss']['recovered']:.4f}" in text
    for latent in report["examples"]:
        assert f"<h3>{latent['latent']}</h3>" in text
    assert len(re.findall("<th>of-[34]</th>", text)) == 2


def test_training_curves_where_there_is_a_log(llama, tmp_path):
    own = sae(llama)
    own.save(tmp_path / "trained")
    records = [{"step": i, "tokens": 100 * i, "fvu": 1 / i, "l0": 5.0, "dead_share": 0.0} for i in range(1, 9)]
    (tmp_path / "trained" / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    loaded = SparseAutoencoder.load(tmp_path / "trained")
    backbone = Backbone.load(llama, layer=LAYER, bidirectional=False)
    report = report_saes(
        [loaded], backbone, lambda: TEXTS, tmp_path / "report", ReportSettings(loss=False), command="x"
    )
    assert report["saes"][0]["training"] == records
    assert report["saes"][0]["loss"] is None and report["no_loss"] == "it was not asked for"
    text = (tmp_path / "report" / "index.html").read_text()
    assert text.count("<svg") == 7  # two of densities, two of errors, three curves


def test_an_older_report_is_replaced_and_nothing_else(llama, tmp_path):
    backbone = Backbone.load(llama, layer=LAYER, bidirectional=False)

    def run(texts):
        return report_saes([sae(llama)], backbone, lambda: texts, tmp_path / "report", ReportSettings(loss=False))

    run(TEXTS[:2])
    run(TEXTS)
    assert json.loads((tmp_path / "report" / "report.json").read_text())["texts"]["texts"] == len(TEXTS)
    with pytest.raises(InputError, match="no token states"):
        run(["", " "])
    assert json.loads((tmp_path / "report" / "report.json").read_text())["texts"]["texts"] == len(TEXTS)
    (tmp_path / "report" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is no report"):
        run(TEXTS)
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_saes_must_belong_to_the_backbone(llama, tmp_path):
    backbone = Backbone.load(llama, layer=LAYER, bidirectional=False)
    with pytest.raises(MismatchError, match="block 2"):
        report_saes([sae(llama), sae(llama, layer=2)], backbone, lambda: TEXTS, tmp_path / "report")
    assert list(tmp_path.iterdir()) == []


def test_the_backbone_is_read_as_in_training(llama, tmp_path):
    states = TokenStates()
    assert backbone_of(sae(llama), states).bidirectional is False  # as published suites are
    assert backbone_of(sae(llama, metadata={"bidirectional": True}), states).bidirectional is True
    assert backbone_of(sae(llama, metadata={"bidirectional": True}), states, bidirectional=False).layer == LAYER
    bert = tiny_checkpoint("bert", tmp_path / "bert")
    assert backbone_of(sae(bert), states).bidirectional is True
    with pytest.raises(InputError, match="--layer"):
        backbone_of(sae(llama, layer=None), states)
    assert backbone_of(sae(llama, layer=None), states, layer=2).layer == 2
    with pytest.raises(InputError, match="--model"):
        backbone_of(SparseAutoencoder(*_nameless()), states)


def _nameless():
    zeros = torch.zeros(D_MODEL, 4), torch.zeros(4), torch.zeros(4, D_MODEL), torch.zeros(D_MODEL)
    return (*zeros, TopK(2), SaeConfig(D_MODEL, 4, layer=1))
