"""Contradictory settings get one clear line, before anything is read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from saelex.errors import InputError
from saelex.recipe import load_recipe
from saelex.training.retrieval.recipe import RetrievalRecipe
from saelex.training.retrieval.validation import validate

VALID = """
model: {backbone: google/gemma-2-2b, sae: gemma-scope/2b/16/65k/128}
data: {sources: [{path: a.jsonl}]}
"""


def recipe(tmp_path, *overrides):
    path = tmp_path / "recipe.yaml"
    path.write_text(VALID)
    return load_recipe(RetrievalRecipe, path, overrides)


VOCABULARY = ("model.head=vocabulary", "model.sae=''")


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        VOCABULARY,
        (*VOCABULARY, "model.token_k=8"),
        ("model.head=random", "model.sae=''", "model.n_latents=100"),
        ("tune.backbone=full", "tune.head=true", "training.head_learning_rate=1e-3"),
        ("sparsity.kind=df_flops", "sparsity.target_query=40", "sparsity.target_document=100"),
        ("loss.kl=0", "loss.info_nce=1", "data.negatives=0"),
        ("loss.word_scale=1", "loss.word_language=de"),
        ("data.sources=[{path: a, kind: beir, negatives: b.parquet}]",),
        ("loss.kl=0", "loss.info_nce=1", "data.sources=[{path: a, kind: beir}]"),
        ("progress.collections=['a:dev']", "progress.every=100"),
        ("training.max_steps=100", "training.warmup_steps=99"),
        ("model.sae=qwen-scope/qwen3-1.7b/18/32k/50", "model.token_k=20", "training.token_k_start=40",
         "training.token_k_steps=10"),
        ("model.sae=qwen-scope/qwen3-1.7b/18/32k/50", "loss.reconstruction=0.1", "training.head_learning_rate=1e-3"),
        ("model.head=random", "model.sae=''", "model.token_k=8", "loss.reconstruction=0.1"),
    ],
)  # fmt: skip
def test_what_agrees_passes(tmp_path, overrides):
    validate(recipe(tmp_path, *overrides))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.backbone=''"], "model.backbone names no language model"),
        (["model.sae=''"], "model.sae names none"),
        (["model.encoder=a"], "model.encoder is a whole model, so model.backbone has no say"),
        (["model.head=vocabulary"], "model.sae belongs to model.head=sae"),
        ([*VOCABULARY, "model.layer=3"], "a vocabulary head reads the last block"),
        ([*VOCABULARY, "model.transform=true"], "part of a vocabulary head already"),
        (["model.n_latents=100"], "width of a random head"),
        (["model.start_active=50"], "an SAE starts sparse"),
        ([*VOCABULARY, "model.start_active=0"], "model.start_active is at least 1"),
        (["model.token_k=0"], "model.token_k is at least 1"),
        (["model.token_k=8"], "the gate of gemma-scope/2b/16/65k/128 is jumprelu"),
        (["model.sae=gemma-scope/2b/16/65k/129"], "did you mean"),
        (["weighting.settings.max_df=0.1"], "name some as weighting.texts.corpora"),
        (["tune.backbone=frozen"], "nothing is trained"),
        (["tune.lora.rank=0"], "tune.lora.rank is at least 1"),
        (["tune.lora.dropout=1"], "tune.lora.dropout is at least 0 and less than 1"),
        (["tune.backbone=full", "model.dtype=bfloat16"], "would round most updates away"),
        (["loss.kl=0"], "are all 0"),
        (["loss.kl=-1"], "loss.kl is at least 0"),
        (["loss.kl=.nan"], "loss.kl' is of type float"),
        (["loss.temperature=0"], "loss.temperature is a positive number"),
        (["loss.word_language=de"], "is of words, which loss.word_scale=0 leaves out"),
        (["loss.word_scale=1", "loss.word_language=xx"], "unknown language 'xx'"),
        (["loss.reconstruction=-1"], "loss.reconstruction is at least 0"),
        (["loss.reconstruction=1"], "the gate of gemma-scope/2b/16/65k/128 is jumprelu"),
        ([*VOCABULARY, "loss.reconstruction=1"], "a vocabulary has no decoder"),
        (["model.head=random", "model.sae=''", "loss.reconstruction=1"], "set model.token_k for a random head"),
        (["model={encoder: a}", "loss.reconstruction=1"], "needs a decoder, which model.encoder has not"),
        (
            [
                "model.head=random",
                "model.sae=''",
                "model.token_k=8",
                "loss.reconstruction=1",
                "training.accumulation_steps=2",
            ],
            "which training.accumulation_steps=2 does not keep",
        ),
        (["data.require_scores=false"], "need a teacher's scores"),
        (["data.negatives=0"], "data.negatives must be at least 1"),
        (["data.negatives=0", "loss.kl=0", "loss.info_nce=1", "loss.in_batch=false"], "has no negatives"),
        (["data.sources=[]"], "data.sources is empty"),
        (["data.sources=[{kind: beir}]"], "data.sources[0].path names no file"),
        (["data.sources=[{path: a, weight: 0}]"], "data.sources[0].weight is a positive number"),
        (["data.sources=[{path: a}, {path: a, kind: beir}]"], "data.sources[1]: a BEIR folder has no teacher's scores"),
        (["data.sources=[{path: a, negatives: b}]"], "data.sources[0].negatives is for BEIR folders"),
        (["data.sources=[{path: a, subset: en}]"], "data.sources[0].subset is for data sets of the hub"),
        (["sparsity.ramp=quadratic"], "a linear or quadratic ramp has steps"),
        (["sparsity.ramp_steps=5"], "a constant one has none"),
        (["sparsity.ramp=linear", "sparsity.ramp_steps=50", "training.max_steps=20"], "would never reach its value"),
        (["sparsity.target_query=40", "sparsity.query=0"], "start it above 0"),
        (["sparsity.target_query=40", "sparsity.ramp=linear", "sparsity.ramp_steps=5"], "both decide lambda"),
        (["sparsity.kind=df_flops", "sparsity.df_alpha=1"], "sparsity.df_alpha is a share"),
        (["training.batch_queries=100", "training.accumulation_steps=8"], "make it a multiple of 8"),
        (["training.head_learning_rate=1"], "the head is not trained"),
        (["training.max_steps=10", "training.warmup_steps=10"], "leaves none of the max_steps"),
        (["training.beta2=1"], "training.beta2"),
        (["training.log_to=[mlflow]"], "not 'mlflow'"),
        (["training.token_k_start=20"], "go together"),
        (["training.token_k_start=20", "training.token_k_steps=5"], "are for TopK SAEs"),
        ([*VOCABULARY, "training.token_k_start=20", "training.token_k_steps=5"], "set model.token_k"),
        ([*VOCABULARY, "model.token_k=30", "training.token_k_start=20", "training.token_k_steps=5"], "downwards"),
        (["progress.every=10"], "go together"),
        (["progress.collections=['a:test']", "progress.every=10"], "a:test is a test split"),
    ],
)
def test_what_contradicts_itself_is_named(tmp_path, overrides, message):
    with pytest.raises(InputError) as error:
        validate(recipe(tmp_path, *overrides))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_batch_splits_over_processes_and_parts(tmp_path):
    chosen = recipe(tmp_path, "training.batch_queries=24", "training.accumulation_steps=4")
    validate(chosen, processes=3)
    with pytest.raises(InputError, match=r"on 4 processes; make it a multiple of 16"):
        validate(chosen, processes=4)


def test_an_encoder_leaves_device_and_dtype_to_say(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("model: {encoder: a, device: cpu, dtype: float32}\ndata: {sources: [{path: a.jsonl}]}\n")
    validate(load_recipe(RetrievalRecipe, path))


def test_a_teacher_is_needed_by_distillation_alone(tmp_path):
    loss = recipe(tmp_path).loss
    assert loss.needs_scores and replace(loss, kl=0.0, margin_mse=0.05).needs_scores
    assert not replace(loss, kl=0.0, info_nce=1.0).needs_scores


def test_words_beside_in_batch_negatives_take_one_process(tmp_path):
    chosen = recipe(tmp_path, "loss.info_nce=1", "loss.word_scale=0.5")
    validate(chosen)
    with pytest.raises(InputError, match=r"loss\.word_scale with in-batch negatives works in one process"):
        validate(chosen, processes=2)
    validate(recipe(tmp_path, "loss.info_nce=1", "loss.word_scale=0.5", "loss.in_batch=false"), processes=2)
    validate(recipe(tmp_path, "loss.word_scale=0.5"), processes=2)
