"""The README of a saved model, written from its configuration and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from saelex.top_k import shown


def model_card(config: Mapping[str, Any], name: str, fingerprint: str) -> str:
    """Markdown with the hub's YAML header.

    config: what `saelex_config.json` holds. name: how the usage examples call the model.
    """
    head, description = config["head"], config["description"]
    header: dict[str, Any] = {
        "library_name": "saelex",
        "tags": ["saelex", "sparse-encoder", "sparse", "sentence-transformers", "learned-sparse-retrieval"],
        "pipeline_tag": "feature-extraction",
        "base_model": config["backbone"]["base_model"],
        "license": description.get("licence"),
        "language": description.get("language"),
        "datasets": description.get("datasets"),
    }
    front = yaml.safe_dump({key: value for key, value in header.items() if value}, sort_keys=False, allow_unicode=True)
    return f"---\n{front}---\n\n" + _BODY.format(
        name=name,
        introduction=description.get("introduction", "A sparse retrieval model: each dimension is one latent."),
        n_latents=head["n_latents"],
        rows="\n".join(f"| {key} | {value} |" for key, value in _facts(config).items()),
        fingerprint=fingerprint,
    )


def _facts(config: Mapping[str, Any]) -> dict[str, str]:
    backbone, head, settings = config["backbone"], config["head"], config["settings"]
    known = {
        "Backbone": backbone["base_model"],
        "Revision": backbone.get("revision"),
        "Low-rank update of the backbone": _update(backbone.get("update")),
        "Layer whose output is read": backbone.get("layer"),
        "Bidirectional attention": backbone.get("bidirectional"),
        "Latents": head["n_latents"],
        "Gate": head["activation"]["kind"],
        "Pooling": head["pooling"],
        "Saturation": head["saturation"],
        "Latents kept (query / document)": f"{shown(settings['query_top_k'])} / {shown(settings['document_top_k'])}",
        "Prompts (query / document)": _prompts(settings),
        "Special tokens": "left out" if settings["mask_special_tokens"] else "pooled",
        "Tokens left out above norm": settings["sink_norm"],
        "Weighting over latents": "corpus statistics in `weighting.safetensors`" if config["weighting"] else None,
        "Queries": "inference-free token weights" if config["token_weights"] else None,
    }
    told = {key.replace("_", " ").capitalize(): value for key, value in config["description"].items()
            if key not in ("introduction", "language", "datasets")}  # fmt: skip
    return {key: _cell(value) for key, value in (known | told).items() if value is not None}


def _update(update: Mapping[str, Any] | None) -> str | None:
    return None if update is None else f"rank {update['rank']}, in `adapter.safetensors`"


def _prompts(settings: Mapping[str, Any]) -> str | None:
    prompts = settings["query_prompt"], settings["document_prompt"]
    return " / ".join(f"`{prompt!r}`" for prompt in prompts) if any(prompts) else None


def _cell(value: Any) -> str:
    text = {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


_BODY = """# {name}

{introduction}
Texts become sparse vectors over {n_latents:,} latents; their dot product is the score, an inverted index finds them,
and each shared latent is a reason for a hit.

```python
from saelex import Encoder, Index

encoder = Encoder.load("{name}")
documents = encoder.encode_document(["Wings create lift.", "A zip archive holds files."])
scores = encoder.similarity(encoder.encode_query("how does an aircraft fly?"), documents)
```

The same folder loads in sentence-transformers, with equal vectors, where saelex is installed:

```python
from sentence_transformers import SparseEncoder

model = SparseEncoder("{name}", trust_remote_code=True)
```

| | |
|---|---|
{rows}
| Fingerprint | `{fingerprint}` |
"""
