"""Reconstruction beside retrieval: its number and gradients, runs that go on exactly, and what is saved."""

import json
from dataclasses import replace
from functools import partial

import pytest
import torch
from safetensors import safe_open
from tests.encoder.tiny_models import D_MODEL, tiny_checkpoint
from tests.training.retrieval.test_run import StopAfter, StopError, stopping, toy_recipe
from tests.training.retrieval.toys import collator_of, examples, one_step_of, one_step_of_rank, recipe, write_jsonl
from tests.training.retrieval.two_ranks import together

from saelex.encoder.backbone.dropout import set_dropout
from saelex.encoder.encoder import Encoder
from saelex.encoder.head import LinearHead
from saelex.encoder.settings import EncoderSettings
from saelex.errors import InputError
from saelex.sae.activations import JumpReLU, TopK
from saelex.sae.autoencoder import SparseAutoencoder
from saelex.sae.config import SaeConfig
from saelex.sae.normalisation import TokenNorm
from saelex.training.lora import LoraRecipe
from saelex.training.retrieval import run
from saelex.training.retrieval.decoder import Decoder, starting_decoder
from saelex.training.retrieval.losses.reconstruction import unexplained
from saelex.training.retrieval.model import RetrievalModel
from saelex.training.retrieval.recipe import LossRecipe
from saelex.training.retrieval.run import train_retrieval
from saelex.training.retrieval.settings import ModelRecipe, TuneRecipe

N, K = 96, 6
SCALES = {"encoder_scale": torch.linspace(0.5, 2, N), "decoder_scale": torch.linspace(3, 0.5, N)}
JOINT = LossRecipe(kl=1.0, temperature=2.0, reconstruction=0.7)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """What the recipe of `test_run` reads, and an SAE."""
    folder = tmp_path_factory.mktemp("toy")
    tiny_checkpoint("bert", folder / "bert", language_model=True)
    write_jsonl(folder / "train.jsonl", examples())
    random_sae().save(folder / "sae")
    return folder


def random_sae(gate=None, **options):
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator)
    parts = draw(D_MODEL, N), draw(N) * 0.1, draw(N, D_MODEL) * 0.1, draw(D_MODEL) * 0.3
    return SparseAutoencoder(
        *parts, gate or TopK(K), SaeConfig(D_MODEL, N, layer=1), apply_b_dec_to_input=True, **options
    )


def learning_encoder(folder, sae):
    """The tiny BERT in float32 under the SAE; all of their weights learn, without dropout."""
    encoder = Encoder.from_sae(folder / "bert", sae, settings=EncoderSettings(max_query_length=12), device="cpu")
    set_dropout(encoder.backbone.model, 0.0)
    encoder.backbone.requires_grad_(True)
    encoder.head.weight.requires_grad_(True)
    encoder.head.bias.requires_grad_(True)
    return encoder


def joint_model(sae, encoder):
    return RetrievalModel(encoder, Decoder.from_sae(sae))


def joint_step(folder, output, chosen):
    sae = random_sae()
    return one_step_of(partial(joint_model, sae), learning_encoder(folder, sae), output, chosen)


def plain_term(folder, sae):
    """The number and its gradients, in float64 over dense latents, text by text."""
    encoder = learning_encoder(folder, sae)
    backbone = encoder.backbone.double()
    x = torch.cat(
        [
            backbone(torch.tensor([text.ids.tolist()]))[0][torch.tensor(text.pooled)]
            for one in examples()
            for side, texts in (("query", [one.query]), ("document", one.passages))
            for text in encoder.tokenizer.tokenize(texts, side)
        ]
    )
    a, s = (torch.ones(N) if scale is None else scale for scale in (sae.encoder_scale, sae.decoder_scale))
    first = {
        "head.weight": sae.W_enc.t(),
        "head.bias": sae.b_enc / a - sae.b_dec @ sae.W_enc,  # learns apart from the decoder's b_dec
        "decoder.W_dec": sae.W_dec * s[:, None],
        "decoder.b_dec": sae.b_dec,
    }
    leaves = {name: tensor.detach().double().requires_grad_() for name, tensor in first.items()}
    weight, bias, W_dec, b_dec = leaves.values()
    pre = a.double() * (x @ weight.t() + bias)
    kept = pre >= pre.detach().sort(dim=1, descending=True).values[:, K - 1 : K]
    rebuilt = torch.where(kept & (pre > 0), pre, 0.0) @ W_dec + b_dec
    term = ((x - rebuilt) ** 2).sum() / ((x - x.mean(0)) ** 2).sum().detach()
    term.backward()
    leaves |= {f"backbone.{name}": p for name, p in backbone.named_parameters()}
    return term.item(), {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}


def assert_close(found, expected, share=1e-5):
    """Equal up to a share of the largest number of the tensor, or of 1 where that is smaller."""
    found = torch.as_tensor(found).double()
    torch.testing.assert_close(found, expected.double(), rtol=0, atol=share * max(float(expected.abs().max()), 1.0))


# ---- the term -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scales", [{}, SCALES], ids=["plain", "scales"])
def test_number_and_gradients_are_those_of_the_dense_sae(toy, scales):
    sae = random_sae(**scales)
    encoder = learning_encoder(toy, sae)
    model = joint_model(sae, encoder)
    batch = collator_of(encoder)(examples())
    found = unexplained(model(batch.chunks[0]).reconstruction)
    found.backward()
    number, gradients = plain_term(toy, sae)
    assert float(found.detach()) == pytest.approx(number, rel=1e-5)
    learns = dict(model.trainable())
    assert len(gradients) > 20
    for name, gradient in gradients.items():
        assert_close(learns[name].grad, gradient)


def test_it_is_the_sae_that_the_head_is_made_of():
    sae = random_sae(**SCALES)
    states = torch.randn(30, D_MODEL, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = Decoder.from_sae(sae)(states, LinearHead.from_sae(sae))
    error = ((states - sae(states).reconstruction) ** 2).sum().detach()
    assert found.error.item() == pytest.approx(float(error), rel=1e-5)
    assert float(unexplained(found)) == pytest.approx(float(error / ((states - states.mean(0)) ** 2).sum()), rel=1e-5)
    half = LinearHead.from_sae(sae.bfloat16())  # sums stay float32 under a half-precision weight and autocast
    with torch.autocast("cpu", torch.bfloat16):
        rounded = Decoder.from_sae(sae)(states, half)
    expected = ((states - sae(states).reconstruction) ** 2).sum().detach()
    assert rounded.error.item() == pytest.approx(float(expected), rel=1e-4)


def test_texts_without_tokens_have_no_error():
    sae = random_sae()
    found = Decoder.from_sae(sae)(torch.zeros(0, D_MODEL), LinearHead.from_sae(sae))
    assert unexplained(found).item() == 0


def test_a_step_adds_it_to_the_loss_with_its_weight(toy, tmp_path):
    joint = joint_step(toy, tmp_path / "joint", recipe(loss=JOINT))
    alone = recipe(loss=replace(JOINT, reconstruction=0.0))
    two_stages = one_step_of(RetrievalModel, learning_encoder(toy, random_sae()), tmp_path / "alone", alone)
    _, gradients = plain_term(toy, random_sae())
    assert joint.keys() - two_stages.keys() == {"decoder.W_dec", "decoder.b_dec"}
    for name, gradient in gradients.items():
        expected = 0.7 * gradient + two_stages.get(name, torch.zeros(()))
        assert_close(joint[name], expected)


@pytest.mark.slow
def test_two_processes_give_the_gradient_of_one(toy, tmp_path):
    whole = joint_step(toy, tmp_path / "whole", recipe(loss=JOINT))
    for gradients in together(one_step_of_rank, tmp_path, toy, tmp_path, recipe(loss=JOINT), joint_step):
        assert gradients.keys() == whole.keys()
        for name, gradient in whole.items():
            assert_close(gradients[name], gradient)


# ---- whole runs -----------------------------------------------------------------------------------------------------


def joint_recipe(toy, **changes):
    model = ModelRecipe(backbone=str(toy / "bert"), sae=str(toy / "sae"), device="cpu")
    return toy_recipe(toy, model=model, loss=replace(JOINT, info_nce=1.0), **changes)


def trained(made, output, patch, *callbacks):
    """The trained encoder and its decoder."""
    models = []
    original = run.RetrievalModel
    patch.setattr(run, "RetrievalModel", lambda *parts: models.append(original(*parts)) or models[0])
    for callback in callbacks:
        stopping(patch, callback)
    return train_retrieval(made, output), models[0].decoder


@pytest.mark.parametrize(
    "tune",
    [
        TuneRecipe(backbone="full", head=True, alpha=True, dropout=0.2),
        TuneRecipe(backbone="lora", lora=LoraRecipe(rank=2), dropout=0.1),
    ],
    ids=["all", "lora"],
)
def test_an_interrupted_run_goes_on_exactly_and_the_encoder_has_no_decoder(toy, tmp_path, tune, monkeypatch):
    made = joint_recipe(toy, tune=tune)
    with monkeypatch.context() as patch:
        whole, decoder = trained(made, tmp_path / "whole", patch)
    assert not torch.equal(decoder.W_dec, random_sae().W_dec)
    with monkeypatch.context() as patch, pytest.raises(StopError):
        trained(made, tmp_path / "model", patch, StopAfter(4))
    with monkeypatch.context() as patch:
        resumed, again = trained(made, tmp_path / "model", patch)
    assert resumed.fingerprint == whole.fingerprint
    assert torch.equal(again.W_dec, decoder.W_dec) and torch.equal(again.b_dec, decoder.b_dec)

    names = []
    for path in (tmp_path / "model").rglob("*.safetensors"):
        with safe_open(path, "pt") as file:
            names += file.keys()
    assert names and not [name for name in names if "dec" in name.lower().replace("decoder.layer", "")]
    assert Encoder.load(tmp_path / "model", device="cpu").fingerprint == whole.fingerprint
    told = (tmp_path / "model" / "training" / "training_log.jsonl").read_text().splitlines()
    assert len([line["reconstruction"] for line in map(json.loads, told) if "kl" in line]) == 6


def test_the_decoder_learns_at_the_heads_rate_beside_a_frozen_head(toy, tmp_path, monkeypatch):
    made = joint_recipe(toy, tune=TuneRecipe(backbone="lora", lora=LoraRecipe(rank=2)))
    slow = replace(made.training, max_steps=1, warmup_share=0.0, head_learning_rate=1e-4)
    with monkeypatch.context() as patch:
        encoder, decoder = trained(replace(made, training=slow), tmp_path / "model", patch)
    moved = (decoder.b_dec - random_sae().b_dec).abs()
    assert float(moved.detach().max()) == pytest.approx(1e-4, rel=1e-2)  # Adam's first step is as long as its rate
    assert torch.equal(encoder.head.weight, random_sae().W_enc.t())


def test_a_random_head_decodes_along_its_own_rows(toy, tmp_path):
    model = ModelRecipe(backbone=str(toy / "bert"), head="random", n_latents=80, layer=1, device="cpu", token_k=4)
    head = LinearHead(torch.tensor([[3.0, 4.0], [0.0, -2.0]]), torch.ones(2), TopK(1))
    decoder = starting_decoder(model, head)
    torch.testing.assert_close(decoder.W_dec.detach(), torch.tensor([[0.6, 0.8], [0.0, -1.0]]))
    assert decoder.b_dec.tolist() == [0, 0]
    found = decoder(torch.tensor([[1.0, 2.0], [0.0, -1.0]]), head)
    # latents 3 + 8 + 1 = 12 and 2 + 1 = 3: (1, 2) - 12 (0.6, 0.8) and (0, -1) - 3 (0, -1)
    assert found.error.item() == pytest.approx((1 - 7.2) ** 2 + (2 - 9.6) ** 2 + 4)
    encoder = train_retrieval(toy_recipe(toy, model=model, loss=JOINT), tmp_path / "model")
    assert Encoder.load(tmp_path / "model", device="cpu").fingerprint == encoder.fingerprint


# ---- what cannot be decoded -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sae", "message"),
    [
        (random_sae(input_norm=TokenNorm("layer_norm")), r"decodes to normalised states \(layer_norm\)"),
        (random_sae(JumpReLU(torch.rand(N))), "needs a TopK gate, and this SAE's is JumpReLU"),
    ],
)
def test_an_sae_that_does_not_fit_is_refused_before_the_first_step(toy, tmp_path, sae, message):
    sae.save(tmp_path / "sae")
    made = joint_recipe(toy)
    with pytest.raises(InputError, match=message) as error:
        train_retrieval(replace(made, model=replace(made.model, sae=str(tmp_path / "sae"))), tmp_path / "model")
    assert "\n" not in str(error.value) and "set it to 0" in str(error.value)


def test_an_sae_without_decoder_is_refused():
    sae = random_sae()
    sae.W_dec = None
    with pytest.raises(InputError, match="comes without its decoder"):
        Decoder.from_sae(sae)
