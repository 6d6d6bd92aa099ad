import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.encoder.tiny_models import TEXTS, tiny_checkpoint
from torch.nn.functional import cross_entropy
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

from saelex.encoder.backbone.backbone import Backbone
from saelex.encoder.backbone.vocabulary import load_vocabulary
from saelex.encoder.encoder import Encoder
from saelex.encoder.settings import EncoderSettings
from saelex.encoder.tokens import TextTokenizer
from saelex.errors import InputError, MismatchError
from saelex.files import sha256_of
from saelex.sae.activations import TopK
from saelex.sae.autoencoder import SparseAutoencoder
from saelex.sae.config import SaeConfig
from saelex.training.lora import LoraRecipe
from saelex.training.mntp.batches import MaskedBatches, TokenBank
from saelex.training.mntp.masking import Masking
from saelex.training.mntp.model import load_masked_model
from saelex.training.mntp.recipe import MaskRecipe, MntpRecipe, MntpTraining
from saelex.training.mntp.run import measure, train_mntp
from saelex.training.mntp.trainer import MntpTrainer
from saelex.training.text_settings import TextData

MASK_TOKENS = {"gemma2": "▁"}  # its tiny tokenizer has neither a mask token nor "_"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("texts") / "corpus.jsonl"
    path.write_text("".join(json.dumps({"_id": str(i), "text": text}) + "\n" for i, text in enumerate(TEXTS * 10)))
    return str(path)


def recipe_for(folder: Path, corpus: str, kind: str = "", **changes) -> MntpRecipe:
    training = MntpTraining(**({
        "steps": 30, "batch_tokens": 256, "learning_rate": 1e-2, "dropout": 0.0, "save_every": 0, "device": "cpu"
    } | changes.pop("training", {})))  # fmt: skip
    return MntpRecipe(**({
        "model": str(folder), "tune": "full", "data": TextData([corpus]), "training": training,
        "mask": MaskRecipe(token=MASK_TOKENS.get(kind)),
    } | changes))  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "tune", "most"),
    [
        ("bert", "full", 0.9),
        ("bert", "lora", 1.0),  # a new head over frozen random embeddings does not come far in 30 steps
        pytest.param("llama", "full", 0.9, marks=pytest.mark.slow),
        ("llama", "lora", 0.9),
        pytest.param("gemma2", "lora", 0.9, marks=pytest.mark.slow),
        ("qwen3", "full", 0.9),
    ],
)
def test_models_learn_and_their_folder_loads(kind, tune, most, corpus, tmp_path):
    folder = tiny_checkpoint(kind, tmp_path / kind, language_model=kind != "bert")
    recipe = recipe_for(folder, corpus, kind, tune=tune, lora=LoraRecipe(rank=8, alpha=16, dropout=0.0))
    facts = train_mntp(recipe, tmp_path / "out")
    before, after = facts["heldout"]["before"], facts["heldout"]["after"]
    assert after["loss"] < most * before["loss"]
    assert after["tokens"] == before["tokens"] > 10
    assert facts["new_head"] == (kind == "bert")
    out = tmp_path / "out"
    assert {path.name for path in tmp_path.iterdir()} == {kind, "out"}  # no checkpoint, no half of anything
    written, original = (json.loads((path / "config.json").read_text()) for path in (out, folder))
    assert written.pop("saelex_base_model") == kind
    changed = {name for name in written.keys() | original.keys() if written.get(name) != original.get(name)}
    assert changed <= {"architectures"}  # not the switches of attention
    record = json.loads((out / "saelex_mntp.json").read_text())
    assert record["base"] == {"model": kind, "revision": None, "sha256": sha256_of(folder / "model.safetensors")}
    assert record["weights_sha256"] == {"model.safetensors": sha256_of(out / "model.safetensors")}
    assert record["recipe"]["model"] == kind  # no path of this machine
    assert record["recipe"]["data"]["corpora"] == ["corpus.jsonl"]
    assert [entry["step"] for entry in record["history"]] == [10, 20, 30]
    assert record["tokens"] > 20 * 128

    batch = AutoTokenizer.from_pretrained(out)(TEXTS[1], return_tensors="pt")
    assert torch.equal(batch.input_ids, AutoTokenizer.from_pretrained(folder)(TEXTS[1], return_tensors="pt").input_ids)
    vocabulary = load_vocabulary(out, bidirectional=False if kind != "bert" else None)
    with torch.no_grad():
        hidden = vocabulary.backbone(batch.input_ids)
        logits = vocabulary.transform(hidden) @ vocabulary.weight.T + vocabulary.bias
        if vocabulary.softcap:
            logits = vocabulary.softcap * torch.tanh(logits / vocabulary.softcap)
        whole = (AutoModelForMaskedLM if kind == "bert" else AutoModelForCausalLM).from_pretrained(out).eval()
        expected = whole(batch.input_ids).logits
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
        cut = Backbone.load(out, layer=1, bidirectional=False if kind != "bert" else None)
        states = AutoModel.from_pretrained(out).eval()(batch.input_ids, output_hidden_states=True).hidden_states[2]
        torch.testing.assert_close(cut(batch.input_ids), states, rtol=1e-4, atol=1e-5)
        if kind != "bert":  # the folder is read in both directions unless told otherwise, as its base is
            both = load_masked_model(replace(recipe, model=str(out)))
            rows = torch.zeros(batch.input_ids.shape[1], dtype=torch.int64)
            seen = both.model.eval().logits(batch.input_ids, batch.attention_mask, rows, torch.arange(len(rows)))
            ours = load_vocabulary(out)
            logits = ours.backbone(batch.input_ids)[0] @ ours.weight.T
            logits = logits if not ours.softcap else ours.softcap * torch.tanh(logits / ours.softcap)
            torch.testing.assert_close(seen, logits, rtol=1e-4, atol=1e-4)


def test_a_stopped_run_goes_on_exactly(corpus, tmp_path, monkeypatch):
    folder = tiny_checkpoint("bert", tmp_path / "bert", language_model=False)
    recipe = recipe_for(
        folder, corpus, training={"steps": 8, "save_every": 3, "dropout": 0.1, "accumulation_steps": 2, "log_every": 1}
    )
    whole = train_mntp(recipe, tmp_path / "whole")
    compute_loss = MntpTrainer.compute_loss

    def stop(self, *arguments, **named):
        if self.state.global_step == 5:
            raise KeyboardInterrupt
        return compute_loss(self, *arguments, **named)

    monkeypatch.setattr(MntpTrainer, "compute_loss", stop)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        train_mntp(recipe, out)
    monkeypatch.undo()
    assert not out.exists()
    assert [path.name for path in (tmp_path / ".out.training").glob("checkpoint-*")] == ["checkpoint-3"]
    (tmp_path / ".out.training" / "checkpoint-6").mkdir()  # a checkpoint that was not written to its end
    with pytest.raises(InputError, match="holds an unfinished run; resume it"):
        train_mntp(recipe, out, resume=False)
    other = replace(recipe, training=replace(recipe.training, learning_rate=1e-3))
    with pytest.raises(InputError, match=r"training\.learning_rate=0\.01, not 0\.001; keep the setting"):
        train_mntp(other, out)
    resumed = train_mntp(replace(recipe, training=replace(recipe.training, save_every=5)), out)
    assert resumed["history"] == whole["history"]
    assert len(whole["history"]) == 8
    assert resumed["heldout"] == whole["heldout"]
    first, second = (load_file(path / "model.safetensors") for path in (tmp_path / "whole", out))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not (tmp_path / ".out.training").exists()
    with pytest.raises(InputError, match="exists already"):
        train_mntp(recipe, out)


def test_a_step_is_the_mean_over_all_its_masked_tokens(tmp_path):
    """One step of Trainer with two accumulated batches of unequal size, against plain PyTorch."""
    folder = tiny_checkpoint("bert", tmp_path / "bert", language_model=False)
    settings = MntpTraining(
        accumulation_steps=2, learning_rate=1e-2, head_learning_rate=3e-2, weight_decay=0.1, clip_norm=0.5,
        schedule="constant", warmup_share=0.0, dropout=0.0, log_every=1, save_every=0, device="cpu",
    )  # fmt: skip
    recipe = MntpRecipe(model=str(folder), tune="full", training=settings)
    loaded = load_masked_model(recipe)
    tokenizer = TextTokenizer(loaded.tokenizer.backend_tokenizer, EncoderSettings(), 64)
    masking = Masking(0.3, 4, 0.1, 0.1, np.arange(5, 100), False, 0)
    bank = TokenBank(tokenizer.tokenize(list(TEXTS), "document"))
    batches = MaskedBatches(bank, [np.array([0, 1, 2, 3]), np.array([6])], masking, seed=0)
    sizes = [len(batches[i]["labels"]) for i in range(2)]
    assert sizes[0] > 3 * sizes[1]

    reference = load_masked_model(recipe).model.model
    head = set(reference.cls.parameters()) - {reference.get_input_embeddings().weight}
    groups = [
        {"params": [p for p in reference.parameters() if (p in head) == above and (p.ndim > 1) == matrix],
         "lr": 3e-2 if above else 1e-2, "weight_decay": 0.1 if matrix else 0.0}
        for above in (False, True) for matrix in (False, True)
    ]  # fmt: skip
    optimizer = torch.optim.AdamW(groups)
    total = torch.tensor(0.0)
    for i in range(2):
        batch = batches[i]
        logits = reference(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        total = total + cross_entropy(logits[batch["rows"], batch["columns"]], batch["labels"], reduction="sum")
    (total / sum(sizes)).backward()
    norm = torch.nn.utils.clip_grad_norm_(reference.parameters(), 0.5)
    optimizer.step()

    trainer = MntpTrainer(loaded.model, settings, batches, 1, tmp_path / "work", progress=False)
    trainer.train()
    logged = next(entry for entry in trainer.state.log_history if "loss" in entry)
    assert logged["loss"] == pytest.approx(float(total.detach()) / sum(sizes), rel=1e-5)
    assert logged["grad_norm"] == pytest.approx(float(norm), rel=1e-4)
    expected = dict(reference.named_parameters())
    compared = []
    for name, parameter in loaded.model.model.named_parameters():
        gradient = expected[name].grad
        assert gradient is not None
        clear = gradient.abs() > 1e-5  # Adam's first step is the gradient's sign: below, that is rounding's
        torch.testing.assert_close(parameter[clear], expected[name][clear], rtol=1e-4, atol=1e-5, msg=name)
        compared.append(clear.flatten())
    assert torch.cat(compared).float().mean() > 0.8


def test_heldout_loss_and_accuracy(tmp_path):
    folder = tiny_checkpoint("bert", tmp_path / "bert", language_model=True)
    loaded = load_masked_model(MntpRecipe(model=str(folder), tune="full"))
    bank = TokenBank(
        TextTokenizer(loaded.tokenizer.backend_tokenizer, EncoderSettings(), 64).tokenize(list(TEXTS), "document")
    )
    masking = Masking(0.3, 4, 0.0, 0.0, np.arange(5, 100), False, 0)
    batches = MaskedBatches(bank, [np.array([1, 2]), np.array([0, 6])], masking, seed=0)
    loaded.model.train()
    found = measure(loaded.model, batches)
    assert loaded.model.training
    reference = AutoModelForMaskedLM.from_pretrained(folder).eval()
    losses, hits = [], []
    for i in range(2):
        batch = batches[i]
        with torch.no_grad():
            logits = reference(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        for row, column, label in zip(batch["rows"], batch["columns"], batch["labels"]):
            losses.append(float(cross_entropy(logits[row, column], label)))
            hits.append(int(logits[row, column].argmax() == label))
    assert found is not None
    assert found.loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert found.accuracy == pytest.approx(np.mean(hits))
    assert found.tokens == len(losses) > 5


def test_an_sae_of_the_base_fits_the_adapted_model(corpus, tmp_path):
    folder = tiny_checkpoint("llama", tmp_path / "Llama-3.1-8B", language_model=True)
    out = tmp_path / "adapted"
    train_mntp(recipe_for(folder, corpus, training={"steps": 1}), out)
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(64, 32, generator=generator)

    def sae(model_name: str) -> SparseAutoencoder:
        config = SaeConfig(32, 64, model_name, layer=1)
        return SparseAutoencoder(weight.T.contiguous(), torch.zeros(64), weight, torch.zeros(32), TopK(4), config)

    encoder = Encoder.from_sae(out, sae("meta-llama/Llama-3.1-8B"))
    assert encoder.backbone.base_model == "Llama-3.1-8B"
    assert len(encoder.encode(["a wing creates lift"], side="query").latents) > 0
    with pytest.raises(MismatchError, match=r"was trained on meta-llama/Llama-3\.2-1B"):
        Encoder.from_sae(out, sae("meta-llama/Llama-3.2-1B"))
    again = tmp_path / "twice"  # adapted once more, it is still a child of the same model
    train_mntp(recipe_for(out, corpus, training={"steps": 1}), again)
    assert Backbone.load(again, layer=1).base_model == "Llama-3.1-8B"


def test_what_stops_a_run(corpus, tmp_path):
    folder = tiny_checkpoint("llama", tmp_path / "llama", language_model=True)
    good = recipe_for(folder, corpus)
    wrong = {
        "names no model": replace(good, model=""),
        r"mask\.share is 1\.5": replace(good, mask=MaskRecipe(share=1.5)),
        r"mask\.keep and mask\.random": replace(good, mask=MaskRecipe(keep=0.6, random=0.5)),
        r"steps and training\.tokens are both given": replace(good, training=MntpTraining(steps=1, tokens=1)),
        "at least 1": replace(good, training=MntpTraining(steps=0)),
        r"training\.device is cpu, cuda or null": replace(good, training=MntpTraining(device="tpu")),
    }
    for message, recipe in wrong.items():
        with pytest.raises(InputError, match=message):
            train_mntp(recipe, tmp_path / "out")
    hot = replace(good, training=replace(good.training, learning_rate=1e30, clip_norm=0.0, warmup_share=0.0))
    with pytest.raises(InputError, match=r"the loss is (nan|inf); lower training\.learning_rate \(now 1e\+30\)"):
        train_mntp(hot, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    empty = tmp_path / "empty.jsonl"
    empty.write_text('{"_id": "1", "text": " "}\n')
    with pytest.raises(InputError, match="no token to mask"):
        train_mntp(replace(good, data=TextData([str(empty)])), tmp_path / "out")
