"""The numbers of `saelex train --dry-run` against hand computation, the real parameters, and what autograd keeps."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.encoder.tiny_models import tiny_checkpoint
from torch import Tensor

from saelex.encoder.backbone.backbone import Backbone
from saelex.encoder.head import LinearHead
from saelex.encoder.settings import EncoderSettings
from saelex.encoder.weighting import WeightingSettings
from saelex.errors import InputError, MismatchError
from saelex.recipe import load_recipe
from saelex.sae.activations import ReLU
from saelex.sae.autoencoder import SparseAutoencoder
from saelex.sae.config import SaeConfig
from saelex.training.examples.settings import ExampleData, Source
from saelex.training.lora import LoraRecipe
from saelex.training.retrieval.decoder import starting_decoder
from saelex.training.retrieval.plan import plan
from saelex.training.retrieval.recipe import RetrievalRecipe, SparsityRecipe
from saelex.training.retrieval.settings import ModelRecipe, StepRecipe, TuneRecipe, WeightingRecipe
from saelex.training.retrieval.start import prepare, starting_encoder
from saelex.training.text_settings import TextData

RECIPES = Path("recipes")
PUBLISHED = [*sorted(RECIPES.glob("splare/*.yaml")), RECIPES / "splade/llama31_8b.yaml"]
D, N = 32, 96


def recipe(model: ModelRecipe, tune: TuneRecipe | None = None, **step: object) -> RetrievalRecipe:
    """Two steps of 16 queries with 3 passages of at most 8 and 16 tokens, on a source that is not there."""
    return RetrievalRecipe(
        model=model,
        tune=tune or TuneRecipe(),
        settings=EncoderSettings(max_query_length=8, max_document_length=16),
        data=ExampleData(sources=[Source(path="gone.jsonl")], negatives=2),
        training=replace(StepRecipe(batch_queries=16, max_steps=2), **step),
    )


def write_sae(folder: Path, layer: int = 1) -> Path:
    W = torch.randn(D, N, generator=torch.Generator().manual_seed(0))
    config = SaeConfig(D, N, layer=layer)
    SparseAutoencoder(W, torch.zeros(N), W.T.contiguous(), torch.zeros(D), ReLU(), config).save(folder)
    return folder


# ---- shipped recipes, offline ---------------------------------------------------------------------------------------


def test_splare_7b_has_the_parameters_that_the_paper_says() -> None:
    found = plan(load_recipe(RetrievalRecipe, RECIPES / "splare/llama31_8b.yaml"))
    d, mlp, kv, words, latents, blocks = 4096, 14336, 1024, 128_256, 131_072, 27
    block = 2 * d * d + 2 * d * kv + 3 * d * mlp + 2 * d
    assert found.parameters == words * d + blocks * block + latents * d + latents
    assert f"{found.parameters / 1e9:.2f}" == "6.95"  # "7B parameters including the SAE"
    low_rank = 2 * (d + d) + 2 * (d + kv) + 3 * (d + mlp)
    assert found.learning.parameters == found.learning.backbone == 64 * blocks * low_rank
    learning = 4 * 64 * blocks * low_rank
    assert found.memory.weights == 2 * (found.parameters) + learning  # bfloat16, as Llama Scope's encoder
    assert (found.memory.gradients, found.memory.optimiser) == (learning, 2 * learning)
    texts, part = 128 * 10, 32 * 10
    assert found.memory.vectors == 4 * latents * (2 * texts + 2 * part)


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_published_pair_is_planned_without_a_network_and_its_comment_says_its_memory(path: Path) -> None:
    found = plan(load_recipe(RetrievalRecipe, path))
    text = str(found)
    assert "bidirectional attention, bfloat16" in text and "LoRA of rank 64" in text
    assert "128 queries with 1,152 passages, in" in text
    assert found.steps is None and "unknown: data/msmarco is not on this machine yet" in text
    said = re.search(r"accumulation_steps: \d+  # ours: about (\d+) GB on one GPU", path.read_text())
    assert said is not None and abs(int(said.group(1)) - found.memory.total / 1e9) <= 0.6


def test_the_encoders_of_the_recipes_are_known_but_for_an_sae_that_is_to_be_trained(tmp_path: Path) -> None:
    found = plan(load_recipe(RetrievalRecipe, RECIPES / "splade/distilbert.yaml"))
    assert found.shape.parameters == 66_362_880  # of Hugging Face's DistilBertModel
    assert found.shape.head.parameters == 30_522 + 768 * 768 + 3 * 768  # tied: bias and transform
    assert found.steps == 240_000 and "rises to 2e-05 in 10,000 steps" in str(found)
    for path in [*RECIPES.glob("sae_splade/*.yaml"), RECIPES / "cross_lingual/xquad.yaml"]:
        with pytest.raises(InputError, match="train it first"):
            plan(load_recipe(RetrievalRecipe, path))


# ---- against the real thing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "model", "tune"),
    [
        ("llama", {}, TuneRecipe()),
        ("llama", {}, TuneRecipe(lora=LoraRecipe(rank=3, targets=["q_proj", "down_proj"]))),
        ("gemma2", {"head": "vocabulary"}, TuneRecipe(head=True)),  # tied: the head's own copy learns
        ("distilbert", {}, TuneRecipe("full", head=True, alpha=True)),
        ("bert", {"head": "vocabulary"}, TuneRecipe("full", head=True)),  # tied: learns with the backbone
        ("qwen3", {"head": "random", "n_latents": 50, "layer": 2}, TuneRecipe("frozen", head=True)),
    ],
)
def test_as_many_parameters_learn_as_in_the_run(kind: str, model: dict, tune: TuneRecipe, tmp_path: Path) -> None:
    folder = tiny_checkpoint(kind, tmp_path / kind, language_model=True)
    settings = {"backbone": str(folder), **model}
    if "head" not in model:
        settings["sae"] = str(write_sae(tmp_path / "sae"))
    chosen = ModelRecipe(**settings)
    found = plan(recipe(chosen, tune))

    encoder = starting_encoder(chosen, EncoderSettings(), "cpu")
    assert found.shape.parameters == sum(p.numel() for p in encoder.backbone.parameters())
    assert (found.shape.layer, found.shape.head.n_latents) == (encoder.backbone.layer, encoder.n_latents)
    prepare(encoder, tune)
    learns = {id(p): p for module in (encoder.backbone, encoder.head) for p in module.parameters() if p.requires_grad}
    assert found.learning.parameters == sum(p.numel() for p in learns.values())
    assert found.learning.size == sum(p.numel() * p.dtype.itemsize for p in learns.values() if p.ndim)


def test_a_decoder_learns_beside_the_head(tmp_path: Path) -> None:
    backbone = str(tiny_checkpoint("bert", tmp_path / "bert"))
    alone = recipe(ModelRecipe(backbone=backbone, head="random", n_latents=50, token_k=4), TuneRecipe("full"))
    joint = replace(alone, loss=replace(alone.loss, reconstruction=0.25))
    found, without = plan(joint), plan(alone)
    decoder = sum(p.numel() for p in starting_decoder(joint.model, head_of(joint)).parameters())
    assert decoder == 50 * D + D
    assert found.learning.parameters - without.learning.parameters == found.parameters - without.parameters == decoder
    growth = [
        getattr(found.memory, part) - getattr(without.memory, part) for part in ("weights", "gradients", "optimiser")
    ]
    assert growth == [4 * decoder, 4 * decoder, 8 * decoder]
    assert "+ 0.25 reconstruction error\n" in str(found) and "reconstruction" not in str(without)


def head_of(chosen: RetrievalRecipe) -> LinearHead:
    return starting_encoder(chosen.model, EncoderSettings(), "cpu").head


@pytest.mark.parametrize("kind", ["llama", "gemma2", "qwen3", "xlm-roberta"])
def test_activations_are_about_what_autograd_keeps(kind: str, tmp_path: Path) -> None:
    sizes = {"hidden_size": 128, "num_attention_heads": 8, "intermediate_size": 448, "num_hidden_layers": 2}
    if kind == "xlm-roberta":  # on a processor, attention with dropout keeps its matrices
        sizes["attention_probs_dropout_prob"] = 0.0
    else:
        sizes |= {"head_dim": 16, "num_key_value_heads": 4}
    folder = tiny_checkpoint(kind, tmp_path / kind, **sizes)
    model = ModelRecipe(backbone=str(folder), head="random", n_latents=10)
    settings = replace(recipe(model, TuneRecipe("full")), settings=EncoderSettings(max_query_length=32,
                       max_document_length=32))  # fmt: skip
    estimate = plan(settings).memory.activations
    backbone = Backbone.load(folder).train()
    kept = saved_bytes(backbone, torch.randint(5, 60, (64, 32)))  # 16 queries with 3 passages each
    assert 0.75 < estimate / kept < 1.35


def test_gradient_checkpointing_keeps_a_state_for_each_block(tmp_path: Path) -> None:
    model = ModelRecipe(backbone=str(tiny_checkpoint("llama", tmp_path / "llama")), head="random", n_latents=10)
    plain, sparing = (plan(recipe(model, gradient_checkpointing=on)).memory.activations for on in (False, True))
    tokens, blocks = 16 * 8 + 48 * 16, 4
    assert sparing == pytest.approx(4 * tokens * blocks * D + plain / blocks)
    assert plan(recipe(model, TuneRecipe("frozen", head=True))).memory.activations == 0


def saved_bytes(backbone: Backbone, ids: Tensor) -> int:
    """Of all tensors that the backward pass needs, each storage once, weights aside."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*backbone.parameters(), *backbone.buffers())}
    kept: dict[int, Tensor] = {}  # holding them keeps their addresses from being used again

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        backbone(ids, torch.ones_like(ids))
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


# ---- steps, processes, sources --------------------------------------------------------------------------------------


def test_steps_follow_from_the_sources(tmp_path: Path) -> None:
    line = {"query": "a", "positive": "b", "negatives": ["c", "d"], "scores": [3.0, 1.0, 0.0]}
    lines = [json.dumps({**line, "query": f"a {i}"}) for i in range(50)]
    (tmp_path / "train.jsonl").write_text("\n".join(lines) + "\n")
    model = ModelRecipe(backbone=str(tiny_checkpoint("llama", tmp_path / "llama")), head="random", n_latents=10)
    chosen = recipe(model, max_steps=None, epochs=3, warmup_share=0.25)
    data = ExampleData(sources=[Source(path=str(tmp_path / "train.jsonl"))], negatives=2)
    found = plan(replace(chosen, data=data))
    assert (found.size, found.steps) == (50, math.ceil(3 * 50 / 16))
    assert "10, 3.2 passes over 50 queries" in str(found)
    assert "rises to 5e-05 in 3 steps, then falls evenly to 0 at step 10" in str(found)


def test_processes_share_a_batch_and_keep_their_gradients_twice(tmp_path: Path) -> None:
    model = ModelRecipe(backbone=str(tiny_checkpoint("llama", tmp_path / "llama")), head="random", n_latents=10)
    chosen = recipe(model, accumulation_steps=2)
    one, four = plan(chosen), plan(chosen, gpus=4)
    assert (one.part_queries, four.part_queries) == (8, 2)
    assert (four.queries, four.passages) == (one.queries, one.passages) == (16, 48)
    assert four.memory.activations == one.memory.activations / 4
    assert four.memory.vectors == one.memory.vectors / 4
    assert four.memory.gradients == 2 * one.memory.gradients
    sharded = plan(replace(chosen, training=replace(chosen.training, fsdp="full_shard")), gpus=4)
    assert sharded.memory.weights == one.memory.weights / 4
    with pytest.raises(InputError, match="multiple of 6"):
        plan(chosen, gpus=3)


def test_the_text_says_what_is_minimised(tmp_path: Path) -> None:
    model = ModelRecipe(
        backbone=str(tiny_checkpoint("bert", tmp_path / "bert")), head="random", n_latents=10, token_k=4
    )
    chosen = recipe(model, TuneRecipe("full", head=True))
    chosen = replace(chosen, sparsity=SparsityRecipe("df_flops", 0.5, 0.25, "constant", target_query=40))
    assert "weighting" not in str(plan(chosen))
    counted = WeightingRecipe(TextData(["a", "b"], max_texts=2500), WeightingSettings(max_df=0.12))
    chosen = replace(chosen, weighting=counted)
    text = str(plan(replace(chosen, loss=replace(chosen.loss, margin_mse=0.05, temperature=20))))
    assert "BM25 over latents, counted on 2,500 texts of 2 corpora; in more than 12% of them: dropped\n" in text
    assert "1 KL (temperature 20) + 0.05 MarginMSE\n" in text
    assert "DF-FLOPS, lambda 0.5 (query, steered to 40 latents) and 0.25 (document)" in text
    assert "random: 32 -> 10 latents, topk with k 4 gate, max pooling, log1p, learns" in text


# ---- mistakes -------------------------------------------------------------------------------------------------------


def test_no_weight_is_read(tmp_path: Path) -> None:
    folder = tiny_checkpoint("llama", tmp_path / "llama")
    sae = write_sae(tmp_path / "sae")
    for weights in (folder / "model.safetensors", sae / "sae_weights.safetensors"):
        weights.unlink()
    assert plan(recipe(ModelRecipe(backbone=str(folder), sae=str(sae)))).shape.layer == 1


def test_what_is_unknown_or_does_not_fit_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not in the local cache"):
        plan(recipe(ModelRecipe(backbone="some/model", head="random")))
    with pytest.raises(MismatchError, match=r"trained on google/gemma-2-2b, not on google/gemma-3-1b-pt"):
        plan(recipe(ModelRecipe(backbone="google/gemma-3-1b-pt", sae="gemma-scope/2b/16/65k/128")))
    with pytest.raises(MismatchError, match="reads block 16, not 3"):
        plan(recipe(ModelRecipe(backbone="google/gemma-2-2b", sae="gemma-scope/2b/16/65k/128", layer=3)))
    with pytest.raises(InputError, match="no masked-LM head"):
        plan(recipe(ModelRecipe(backbone="google/gemma-2-2b", sae="gemma-scope/2b/16/65k/128", transform=True)))
    with pytest.raises(InputError, match="names no linear layer"):
        lora = TuneRecipe(lora=LoraRecipe(targets=["query"]))
        plan(recipe(ModelRecipe(backbone="google/gemma-2-2b", sae="gemma-scope/2b/16/65k/128"), lora))
    wide = tiny_checkpoint("llama", tmp_path / "wide", hidden_size=64)
    with pytest.raises(MismatchError, match="reads 32 dimensions but"):
        plan(recipe(ModelRecipe(backbone=str(wide), sae=str(write_sae(tmp_path / "sae")))))


def test_an_encoder_is_planned_by_its_folder() -> None:
    found = plan(recipe(ModelRecipe(encoder="saelex-minilm")))
    assert (found.shape.name, found.shape.layer) == ("sentence-transformers/all-MiniLM-L6-v2", 5)
    assert found.shape.head.n_latents == 16_384
    assert found.shape.parameters == 22_565_376  # all-MiniLM-L6-v2 without its pooler
