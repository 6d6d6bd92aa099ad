"""Whole runs at toy size: what is saved, what a resumed run does, and what stops one."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from tests.encoder.tiny_encoders import tiny_encoder
from tests.encoder.tiny_models import tiny_checkpoint
from tests.training.retrieval.toys import TOPICS, examples, write_jsonl
from transformers import TrainerCallback, set_seed

from saelex.encoder.encoder import Encoder
from saelex.encoder.settings import EncoderSettings
from saelex.encoder.weighting import WeightingSettings
from saelex.errors import InputError, SaelexError
from saelex.training.examples.settings import ExampleData, Source
from saelex.training.lora import LoraRecipe
from saelex.training.retrieval.recipe import LossRecipe, RetrievalRecipe, SparsityRecipe
from saelex.training.retrieval.run import n_steps, train_retrieval
from saelex.training.retrieval.settings import ModelRecipe, ProgressRecipe, StepRecipe, TuneRecipe, WeightingRecipe
from saelex.training.retrieval.start import start_sparse, starting_encoder
from saelex.training.text_settings import TextData


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    tiny_checkpoint("bert", folder / "bert", language_model=True)
    write_jsonl(folder / "train.jsonl", examples())
    return folder


def toy_recipe(toy, **changes):
    made = RetrievalRecipe(
        model=ModelRecipe(backbone=str(toy / "bert"), head="random", n_latents=80, layer=1, device="cpu"),
        tune=TuneRecipe(backbone="lora", lora=LoraRecipe(rank=4, alpha=8.0), head=True),
        settings=EncoderSettings(max_query_length=12, max_document_length=16),
        data=ExampleData(sources=[Source(path=str(toy / "train.jsonl"))], negatives=2),
        loss=LossRecipe(kl=1.0, info_nce=1.0),
        sparsity=SparsityRecipe(query=1e-3, document=1e-3),
        training=StepRecipe(batch_queries=4, max_steps=6, learning_rate=5e-3, log_every=1, save_every=3),
        licence="apache-2.0",
    )
    return replace(made, **changes)


class StopError(Exception):
    """Stands for a machine that is switched off."""


class StopAfter(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **_):
        if state.global_step == self.step:
            raise StopError


def test_the_saved_encoder_is_the_trained_one_and_tells_how_it_was_made(toy, tmp_path):
    made = toy_recipe(toy)
    trained = train_retrieval(made, tmp_path / "model")
    loaded = Encoder.load(tmp_path / "model", device="cpu")
    assert loaded.fingerprint == trained.fingerprint
    texts = ["what is wing 0", "the heat of number 2"]
    assert (loaded.encode_query(texts).to_dense() == trained.encode_query(texts).to_dense()).all()
    told = tmp_path / "model" / "training"
    assert yaml.safe_load((told / "recipe.yaml").read_text())["training"]["max_steps"] == 6
    lines = [json.loads(line) for line in (told / "training_log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "kl" in line] == [1, 2, 3, 4, 5, 6]
    assert {"flops_query", "active_document", "lambda_query", "info_nce"} <= lines[0].keys()
    facts = json.loads((told / "facts.json").read_text())
    assert facts["steps"] == 6 and facts["queries"] == 24 and facts["versions"]["torch"] == torch.__version__
    assert not (tmp_path / "model.run").exists()


@pytest.mark.parametrize(("head", "told"), [(False, "gemma-2-2b/16-res"), (True, None)])
def test_published_labels_are_of_latents_that_were_not_trained(toy, tmp_path, head, told):
    start = tiny_encoder(tmp_path / "start")
    start.description |= {"sae": "here", "neuronpedia": "gemma-2-2b/16-res"}
    start.save_pretrained(tmp_path / "encoder")
    model = ModelRecipe(encoder=str(tmp_path / "encoder"), device="cpu")
    tune = TuneRecipe(backbone="lora", lora=LoraRecipe(rank=2), head=head)
    steps = StepRecipe(batch_queries=4, max_steps=1, learning_rate=1e-3)
    train_retrieval(toy_recipe(toy, model=model, tune=tune, training=steps), tmp_path / "model")
    description = Encoder.load(tmp_path / "model", device="cpu").description
    assert (description["sae"], description["neuronpedia"]) == ("here", told)


@pytest.mark.parametrize("backbone", ["lora", "full"])
def test_an_interrupted_run_goes_on_exactly(toy, tmp_path, backbone, monkeypatch):
    sparsity = SparsityRecipe(kind="df_flops", query=1e-3, document=1e-3, target_document=20.0)
    made = toy_recipe(toy, tune=TuneRecipe(backbone=backbone, head=True, alpha=True, dropout=0.2), sparsity=sparsity)
    whole = train_retrieval(made, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stopping(patch, StopAfter(4))
        with pytest.raises(StopError):
            train_retrieval(made, tmp_path / "model")
    assert (tmp_path / "model.run" / "checkpoint-3").is_dir() and not (tmp_path / "model").exists()
    resumed = train_retrieval(made, tmp_path / "model")
    assert resumed.fingerprint == whole.fingerprint
    logs = [(tmp_path / name / "training" / "training_log.jsonl").read_text() for name in ("whole", "model")]
    losses = [[json.loads(line).get("loss") for line in log.splitlines()][:6] for log in logs]
    assert losses[0] == losses[1]


def stopping(patch, callback):
    from saelex.training.retrieval import run

    original = run._trainer

    def with_callback(*arguments):
        trainer = original(*arguments)
        trainer.add_callback(callback)
        return trainer

    patch.setattr(run, "_trainer", with_callback)


def test_another_recipe_does_not_take_over_an_unfinished_run(toy, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stopping(patch, StopAfter(3))
        with pytest.raises(StopError):
            train_retrieval(toy_recipe(toy), tmp_path / "model")
    other = toy_recipe(toy, loss=LossRecipe(kl=0.0, info_nce=1.0))
    with pytest.raises(InputError, match=r"unfinished run of another recipe.*--no-resume"):
        train_retrieval(other, tmp_path / "model")
    train_retrieval(other, tmp_path / "model", resume=False)
    assert (tmp_path / "model" / "saelex_config.json").exists()


@pytest.mark.parametrize("resume", [True, False])
def test_a_users_folder_that_is_called_like_the_run_stays(toy, tmp_path, resume):
    (tmp_path / "model.run").mkdir()
    (tmp_path / "model.run" / "thesis.txt").write_text("one")
    with pytest.raises(InputError, match="holds something else"):
        train_retrieval(toy_recipe(toy), tmp_path / "model", resume=resume)
    assert (tmp_path / "model.run" / "thesis.txt").read_text() == "one"


def test_lora_over_a_local_backbone_saves_the_merged_weights(toy, tmp_path):
    train_retrieval(toy_recipe(toy), tmp_path / "model")
    # a local folder has no name that others know, so its merged backbone is copied
    config = json.loads((tmp_path / "model" / "saelex_config.json").read_text())
    assert config["backbone"]["model"] is None
    trained = Encoder.load(tmp_path / "model", device="cpu")
    assert not any("lora" in name for name, _ in trained.backbone.named_parameters())


def test_half_precision_rounds_the_update_in_memory_too(toy, tmp_path):
    trained = train_retrieval(toy_recipe(toy), tmp_path / "half", weight_dtype=torch.float16)
    exact = train_retrieval(toy_recipe(toy), tmp_path / "whole")
    assert trained.backbone.update.dtype == torch.float16
    for name, factors in trained.backbone.update.factors.items():
        for factor, whole in zip(factors, exact.backbone.update.factors[name]):
            assert torch.equal(factor, whole.half().float())
    plain = Encoder.from_vocabulary(toy / "bert").backbone.model.state_dict()
    for name, (A, B) in trained.backbone.update.factors.items():
        merged = trained.backbone.model.get_submodule(name).weight
        torch.testing.assert_close(merged, plain[f"{name}.weight"] + B @ A)


def test_a_vocabulary_head_that_is_tied_learns_with_its_embedding(toy, tmp_path):
    model = ModelRecipe(backbone=str(toy / "bert"), head="vocabulary", device="cpu")
    before = Encoder.from_vocabulary(toy / "bert")
    full = train_retrieval(toy_recipe(toy, model=model, tune=TuneRecipe(backbone="full", head=True)), tmp_path / "full")
    assert full.head.weight is full.backbone.model.get_parameter("embeddings.word_embeddings.weight")
    assert not torch.equal(full.head.weight, before.head.weight)
    lora = toy_recipe(toy, model=model, tune=TuneRecipe(backbone="lora", lora=LoraRecipe(rank=2), head=True))
    untied = train_retrieval(lora, tmp_path / "lora")
    embedding = untied.backbone.model.get_parameter("embeddings.word_embeddings.weight")
    assert torch.equal(embedding, before.backbone.model.get_parameter("embeddings.word_embeddings.weight"))
    assert not torch.equal(untied.head.weight, embedding)


def test_a_vocabulary_head_can_start_sparse_with_the_same_predictions(toy):
    encoder = starting_encoder(
        ModelRecipe(backbone=str(toy / "bert"), head="vocabulary"), EncoderSettings(), torch.device("cpu")
    )
    texts = [text for one in examples() for text in one.passages]
    before, bias = encoder.encode_document(texts, top_k=None), encoder.head.bias.detach().clone()
    start_sparse(encoder, texts, 5)
    after = encoder.encode_document(texts, top_k=None)
    assert before.lengths.mean() > 10 and after.lengths.mean() == pytest.approx(5, abs=0.1)
    shift = encoder.head.bias - bias
    assert float(shift.detach().max() - shift.detach().min()) < 1e-5  # the softmax over the vocabulary is blind to it


def test_latents_per_token_are_annealed_to_the_recipes(toy, tmp_path):
    made = toy_recipe(toy)
    model = replace(made.model, token_k=3)
    training = replace(made.training, token_k_start=30, token_k_steps=4)
    trained = train_retrieval(replace(made, model=model, training=training), tmp_path / "model")
    assert trained.head.activation.k == 3
    lines = (tmp_path / "model" / "training" / "training_log.jsonl").read_text().splitlines()
    active = [json.loads(line)["active_document"] for line in lines if "active_document" in line]
    assert active[0] > 2 * active[-1]
    assert Encoder.load(tmp_path / "model").head.activation.k == 3


def test_a_collapsing_run_is_stopped_and_leaves_no_model(toy, tmp_path):
    made = toy_recipe(toy, sparsity=SparsityRecipe(query=1e4, document=1e4))
    training = replace(made.training, max_steps=200, learning_rate=0.05)
    with pytest.raises(SaelexError, match=r"sparsity\.(query|document)|learning_rate"):
        train_retrieval(replace(made, training=training), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_statistics_are_counted_with_the_starts_latents_and_anew_for_a_second_training(toy, tmp_path):
    texts = [f"the {TOPICS[i % 8]} of number {i} and {TOPICS[i % 3]}" for i in range(12)]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"_id": text, "text": text}) + "\n" for text in texts))
    rare = WeightingRecipe(TextData([str(tmp_path / "texts.jsonl")]), WeightingSettings(k1=0.9, b=0.3, max_df=0.5))

    def frequencies(encoder):
        return (encoder.encode_document(texts, top_k=None).to_dense() > 0).sum(axis=0)

    random = ModelRecipe(backbone=str(toy / "bert"), head="random", n_latents=80, layer=1, device="cpu", token_k=4)
    first = toy_recipe(toy, model=random, weighting=rare)
    set_seed(first.training.seed)
    plain = starting_encoder(first.model, first.settings, "cpu")
    trained = train_retrieval(first, tmp_path / "first")
    np.testing.assert_array_equal(trained.weighting.statistics.document_frequencies, frequencies(plain))
    dropped = frequencies(plain) > 6
    assert dropped.any()
    assert not trained.encode_document(texts, top_k=None).to_dense()[:, dropped].any()

    second = toy_recipe(toy, weighting=rare, model=ModelRecipe(encoder=str(tmp_path / "first"), device="cpu"))
    again = train_retrieval(second, tmp_path / "second")
    trained.weighting = None
    np.testing.assert_array_equal(again.weighting.statistics.document_frequencies, frequencies(trained))
    assert (frequencies(plain) != frequencies(trained)).any()


def test_frozen_parts_stay_as_they_were(toy, tmp_path):
    made = toy_recipe(toy, tune=TuneRecipe(backbone="frozen", head=True))
    trained = train_retrieval(made, tmp_path / "model")
    plain = Encoder.from_vocabulary(toy / "bert").backbone.model.state_dict()
    for name, tensor in trained.backbone.model.state_dict().items():
        assert torch.equal(tensor, plain[name])
    with pytest.raises(InputError, match="nothing is trained"):
        train_retrieval(toy_recipe(toy, tune=TuneRecipe(backbone="frozen")), tmp_path / "other")


def test_the_encoder_is_measured_on_the_way_as_it_then_is(toy, tmp_path):
    seen = []

    def evaluate(encoder):
        seen.append(encoder.encode_document(["the wing of number 0"], top_k=None).to_dense())
        return {"nDCG@10": 0.1 * len(seen)}

    made = toy_recipe(toy, progress=ProgressRecipe(collections=["read by the caller"], every=2))
    trained = train_retrieval(made, tmp_path / "model", evaluate=evaluate)
    told = tmp_path / "model" / "training"
    lines = [json.loads(line) for line in (told / "training_log.jsonl").read_text().splitlines()]
    assert [(line["step"], line["dev nDCG@10"]) for line in lines if "dev nDCG@10" in line] == [
        (2, pytest.approx(0.1)), (4, pytest.approx(0.2)), (6, pytest.approx(0.3))
    ]  # fmt: skip
    assert json.loads((told / "facts.json").read_text())["measured"] == {"nDCG@10": pytest.approx(0.4)}
    assert abs(seen[0] - seen[2]).max() > 1e-3  # it learns in between, and ends as what is saved
    assert abs(seen[2] - trained.encode_document(["the wing of number 0"], top_k=None).to_dense()).max() < 1e-5


def test_steps_follow_from_epochs():
    assert n_steps(StepRecipe(batch_queries=32, epochs=2.0), 100) == 7
    assert n_steps(StepRecipe(batch_queries=32, max_steps=5), None) == 5
    with pytest.raises(InputError, match="max_steps"):
        n_steps(StepRecipe(), None)
