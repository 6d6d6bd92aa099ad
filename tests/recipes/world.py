"""A toy world in which every shipped recipe can be run: 64 documents, tiny models, SAEs in their published formats.

A query shares no word with its document, so that what is found was learnt. Models and SAEs lie in folders named as the
published ones are, since an SAE knows its model by name.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tests.encoder.tiny_models import DECODERS, TINY_MODELS, tiny_model
from tests.sae.formats.builders import write_gemma_scope, write_gemma_scope_2, write_llama_scope
from tests.sae.formats.library_builders import save_pt
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from saelex.encoder.backbone.backbone import Backbone

SIZE = 64
"""Documents, and as many queries."""
LANGUAGES = ("en", "de", "fr")
N_LATENTS = 512
LAYER = 0  # of 2 blocks, so that one is cut off
HOOK = f"blocks.{LAYER}.hook_resid_post"
_WORDS = {"document": 60, "query": 40}
_LENGTHS = {"document": 6, "query": 3}
_MASKS = ("<unused0>", "_")  # what the MNTP recipes put in place of a word

BACKBONES = {
    "meta-llama/Llama-3.1-8B": "llama",
    "google/gemma-2-2b": "gemma2",
    "google/gemma-3-1b-pt": "gemma3_text",
    "Qwen/Qwen3-1.7B-Base": "qwen3",
    "google-bert/bert-base-uncased": "bert",
    "distilbert/distilbert-base-uncased": "distilbert",
    "distilbert/distilbert-base-multilingual-cased": "distilbert",
    "FacebookAI/xlm-roberta-base": "xlm-roberta",
    "sentence-transformers/all-MiniLM-L6-v2": "bert",
}
"""What stands for the backbone of a recipe."""


@dataclass(frozen=True)
class Texts:
    """Of one language, by number; document i answers query i, in every language."""

    documents: list[str]
    queries: list[str]


def texts_of(language: str) -> Texts:
    """The same draws in every language, from words of its own."""
    random = Random(0)
    made = {
        kind: [
            " ".join(f"{language}{kind}{random.randrange(_WORDS[kind])}" for _ in range(_LENGTHS[kind]))
            for _ in range(SIZE)
        ]
        for kind in ("document", "query")
    }
    return Texts(made["document"], made["query"])


class World:
    """The folder of a toy world; its files are made when they are first asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._saes: dict[str, tuple[Path, str | None]] = {}
        for language in LANGUAGES:
            self._write_language(language)
        self._write_scores()

    # ---- data -------------------------------------------------------------------------------------------------------

    def corpus(self, language: str = "en") -> Path:
        """A collection as TSV."""
        return self.root / language / "collection.tsv"

    def queries(self, language: str = "en") -> Path:
        """Queries as TSV."""
        return self.root / language / "queries.tsv"

    def beir(self, queries: str = "en", documents: str = "en") -> Path:
        """A BEIR folder with queries of one language and documents of another; its split is train."""
        folder = self.root / f"beir-{queries}-{documents}"
        if not folder.exists():
            (folder / "qrels").mkdir(parents=True)
            rows = [f"q{i}\td{i}\t1\n" for i in range(SIZE)]
            (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(rows))
            for name, prefix, texts in (
                ("queries", "q", texts_of(queries).queries),
                ("corpus", "d", texts_of(documents).documents),
            ):
                lines = [json.dumps({"_id": f"{prefix}{i}", "text": text}) for i, text in enumerate(texts)]
                (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
        return folder

    @property
    def scored(self) -> Path:
        """Parquet of `saelex score`'s columns, for `beir`."""
        return self.root / "scored.parquet"

    @property
    def examples(self) -> Path:
        """ColBERTv2's examples.json."""
        return self.root / "examples.json"

    def _write_language(self, language: str) -> None:
        texts = texts_of(language)
        (self.root / language).mkdir()
        for path, prefix, lines in (
            (self.corpus(language), "d", texts.documents),
            (self.queries(language), "q", texts.queries),
        ):
            path.write_text("".join(f"{prefix}{i}\t{text}\n" for i, text in enumerate(lines)))

    def _write_scores(self) -> None:
        random = Random(1)
        rows, lines = [], []
        for i in range(SIZE):
            others = [j for j in range(SIZE) if j != i]
            scored = [(f"d{j}", 8.0 if j == i else random.uniform(-1, 1)) for j in (i, *others)]
            lines.append(json.dumps([f"q{i}", *([name, score] for name, score in scored)]))
            rows += [
                {
                    "query_id": f"q{i}", "document_id": name, "relevant": name == f"d{i}", "rank": None,
                    "miner": "toy", "score": score,
                }
                for name, score in scored
            ]  # fmt: skip
        self.examples.write_text("\n".join(lines) + "\n")
        pq.write_table(pa.Table.from_pylist(rows), self.scored)

    # ---- models -----------------------------------------------------------------------------------------------------

    def backbone(self, name: str) -> Path:
        """A tiny language model with its head, for the recipe's hub id."""
        folder = self.root / "hub" / name.rpartition("/")[2]
        if not folder.exists():
            kind = BACKBONES[name]
            tokenizer = word_tokenizer(kind)
            sizes = {"n_layers": 2, "dim": 64} if kind == "distilbert" else {"num_hidden_layers": 2, "hidden_size": 64}
            if kind == "gemma3_text":
                sizes["layer_types"] = ["sliding_attention", "full_attention"]
            tokenizer.save_pretrained(folder)
            if kind not in DECODERS:  # post-norm blocks with large random weights forget which words they read
                sizes["initializer_range"] = 0.05
            tiny_model(kind, tokenizer, language_model=True, **sizes).save_pretrained(folder)
        return folder

    def published_sae(self, backbone: str) -> tuple[Path, str | None]:
        """An SAE on block 0 in the published format of the backbone's suite, and its file where that is named."""
        if backbone not in self._saes:
            self._saes[backbone] = _PUBLISHED[backbone](self.root / "saes", self.backbone(backbone))
        return self._saes[backbone]


def _llama_scope(root: Path, model: Path) -> tuple[Path, str | None]:
    W, thresholds, norm = _directions(model)
    tensors = {
        "encoder.weight": W.T, "encoder.bias": torch.zeros(N_LATENTS),
        "decoder.weight": W, "decoder.bias": torch.zeros(len(W)),
    }  # fmt: skip
    folder = write_llama_scope(
        root,
        {name: tensor.bfloat16().contiguous() for name, tensor in tensors.items()},
        d_model=len(W),
        d_sae=N_LATENTS,
        hook_point_in=HOOK,
        hook_point_out=HOOK,
        jump_relu_threshold=float(thresholds.mean()),
        dataset_average_activation_norm={"in": norm, "out": norm},
    )
    return folder, None


def _gemma_scope(root: Path, model: Path) -> tuple[Path, str | None]:
    place = f"layer_{LAYER}/width_65k/average_l0_128"
    return write_gemma_scope(root, _gemma_tensors(model), place=place), None


def _gemma_scope_2(root: Path, model: Path) -> tuple[Path, str | None]:
    tensors = {
        {"W_enc": "w_enc", "W_dec": "w_dec"}.get(name, name): made for name, made in _gemma_tensors(model).items()
    }
    place = f"gemma-scope-2-1b-pt/resid_post/layer_{LAYER}_width_65k_l0_medium"
    at = f"model.layers.{LAYER}.output"
    written = write_gemma_scope_2(
        root, tensors, place=place, width=N_LATENTS, hf_hook_point_in=at, hf_hook_point_out=at
    )
    return written, None


def _qwen_scope(root: Path, model: Path) -> tuple[Path, str | None]:
    W, thresholds, _ = _directions(model, 1024)  # widths are counted in 1,024s
    tensors = {
        "W_enc": W.T.contiguous(), "W_dec": W, "b_enc": -thresholds, "b_dec": torch.zeros(len(W)),
    }  # fmt: skip
    path = save_pt(tensors, root / "SAE-Res-Qwen3-1.7B-Base-W1K-L0_100" / f"layer{LAYER}.sae.pt")
    return path.parent, path.name


_PUBLISHED = {
    "meta-llama/Llama-3.1-8B": _llama_scope,
    "google/gemma-2-2b": _gemma_scope,
    "google/gemma-3-1b-pt": _gemma_scope_2,
    "Qwen/Qwen3-1.7B-Base": _qwen_scope,
}


def word_tokenizer(kind: str) -> PreTrainedTokenizerFast:
    """A tokenizer that knows the world's words, with the special tokens of a model type."""
    tiny = TINY_MODELS[kind]
    specials = list(dict.fromkeys(tiny.specials.values()))
    words = [f"{language}{side}{i}" for language in LANGUAGES for side in _WORDS for i in range(_WORDS[side])]
    vocabulary = {word: i for i, word in enumerate([*specials, *_MASKS, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=tiny.specials.get("unk_token", _MASKS[1])))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if tiny.prefix or tiny.suffix:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=" ".join([*tiny.prefix, "$A", *tiny.suffix]),
            special_tokens=[(token, vocabulary[token]) for token in {*tiny.prefix, *tiny.suffix}],
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **tiny.specials)


def _directions(model: Path, n_latents: int = N_LATENTS) -> tuple[Tensor, Tensor, float]:
    """Random unit directions [d_model, n_latents]; what a tenth of the states exceed along each; the mean norm."""
    backbone = Backbone.load(model, layer=LAYER)
    texts = texts_of("en")
    vocabulary = backbone.tokenizer.get_vocab()
    ids = torch.tensor([[vocabulary[word] for word in text.split()] for text in texts.documents])
    with torch.no_grad():
        states = backbone(ids).flatten(0, 1)  # [tokens, d_model]
    W = torch.randn(states.shape[1], n_latents, generator=torch.Generator().manual_seed(0))
    W /= W.norm(dim=0)
    return W, (states @ W).quantile(0.9, dim=0), float(states.norm(dim=1).mean())


def _gemma_tensors(model: Path) -> dict[str, Tensor]:
    W, thresholds, _ = _directions(model)
    return {
        "W_enc": W, "b_enc": torch.zeros(N_LATENTS), "W_dec": W.T.contiguous(), "b_dec": torch.zeros(len(W)),
        "threshold": thresholds.clamp_min(0),
    }  # fmt: skip
