"""What is `null`, left over from another architecture, or of another kind of dictionary: decided for every format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.sae.formats.builders import GEMMA_SCOPE, Builder, D, N, states
from tests.sae.formats.library_builders import BUILDERS, saelens_config, saelens_tensors, write_saelens

from saelex.errors import InputError
from saelex.sae.autoencoder import SparseAutoencoder

WITH_CONFIG = [builder for builder in BUILDERS if builder.config is not None]


def _objects(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [values, *(value for value in values.values() if isinstance(value, dict))]


@pytest.mark.parametrize("builder", WITH_CONFIG, ids=lambda builder: f"{builder.name}-{builder.write.__name__}")
def test_null_is_as_good_as_nothing(builder: Builder, tmp_path: Path) -> None:
    """Each setting once null and once missing: the same SAE, or the same refusal."""
    path = builder.write(tmp_path)
    config = path / str(builder.config)
    whole = json.loads(config.read_bytes())
    for which in range(len(_objects(whole))):
        for name in _objects(whole)[which]:
            results = []
            for missing in (True, False):
                values = json.loads(json.dumps(whole))
                if missing:
                    del _objects(values)[which][name]
                else:
                    _objects(values)[which][name] = None
                config.write_text(json.dumps(values))
                try:
                    sae = SparseAutoencoder.load(path)
                    results.append(
                        (sae.config.model_name, sae.config.layer, repr(sae), sae.encode(states()).sum().item())
                    )
                except InputError as error:
                    results.append(str(error))
            assert results[0] == results[1], name


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": "transcoder", "d_out": D},
        {"architecture": "skip_transcoder", "d_out": D},
        {"architecture": "jumprelu_transcoder", "d_out": D},
        {"d_out": D + 1},
        {"hook_point_out": "blocks.12.hook_mlp_out"},
        {"is_transcoder": True, "d_out": D},
        {"metadata": {"hook_name": "blocks.3.ln2.hook_normalized", "hook_name_out": "blocks.3.hook_mlp_out"}},
        {"metadata": None, "hook_point": "blocks.3.ln2.hook_normalized", "out_hook_point": "blocks.3.hook_mlp_out"},
    ],
)
def test_transcoders_of_every_age_are_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    folder = write_saelens(tmp_path, {**saelens_config("standard"), **changes}, saelens_tensors("b_enc"))
    with pytest.raises(InputError, match=r"cfg\.json: describes a transcoder, not an autoencoder"):
        SparseAutoencoder.load(folder)


def test_a_transcoder_by_the_name_of_its_repository_is_refused(tmp_path: Path) -> None:
    folder = GEMMA_SCOPE.write(tmp_path, repository="gemma-scope-2b-pt-transcoders")
    with pytest.raises(InputError, match="is a transcoder by its name"):
        SparseAutoencoder.load(folder)


@pytest.mark.parametrize(
    ("architecture", "changes", "tensors", "message"),
    [
        ("standard", {}, {"threshold": torch.ones(N)}, "holds 'threshold', which is no part"),
        ("standard", {}, {"b_dec_out": torch.ones(D)}, "holds 'b_dec_out', which is no part"),
        ("jumprelu", {}, {"threshold": torch.ones(N), "log_threshold": torch.ones(N)}, "which of them counts"),
        ("standard", {"finetuning_scaling_factor": True}, {}, "holds no scaling_factor"),
        ("standard", {"rescale_acts_by_decoder_norm": True}, {}, "rescale_acts_by_decoder_norm is True"),
        ("standard", {"reshape_activations": "hook_q"}, {}, "reshape_activations is 'hook_q'"),
        ("standard", {"activation_fn": "tanh-relu"}, {}, "activation 'tanh-relu' of a standard SAE"),
        ("jumprelu", {"activation_fn": "topk"}, {"threshold": torch.ones(N)}, "activation 'topk' of a jumprelu SAE"),
        ("topk", {"k": N + 1}, {}, f"k is {N + 1}, and there are {N} latents"),
        ("topk", {"k": 10**12}, {}, "k is 1000000000000"),
        ("standard", {"d_sae": 10**12}, {}, r"b_enc has the shape \[20\]"),
        ("standard", {"d_in": -8}, {}, "d_in is -8, not a whole number from 1 up"),
        ("jumprelu", {}, {"threshold": torch.full((N,), float("inf"))}, "threshold holds NaN or infinity"),
        ("jumprelu", {}, {"log_threshold": torch.full((N,), 200.0)}, "the threshold is not finite"),
        ("standard", {}, {"W_enc": torch.full((D, N), 1e20)}, "W_enc holds NaN or infinity, or numbers beyond 1e15"),
        (
            "standard",
            {},
            {"W_enc": torch.ones(D, N).to(torch.float8_e4m3fn)},
            r"torch\.float8_e4m3fn numbers, not weights",
        ),
    ],
)
def test_what_would_be_another_sae_is_refused(
    architecture: str, changes: dict[str, Any], tensors: dict[str, torch.Tensor], message: str, tmp_path: Path
) -> None:
    held = {**saelens_tensors("b_enc"), **tensors}
    with pytest.raises(InputError, match=message):
        SparseAutoencoder.load(write_saelens(tmp_path, saelens_config(architecture, **changes), held))


@pytest.mark.parametrize(
    "changes",
    [
        {"k": 4},  # of the architecture that it was trained as
        {"norm_scaling_factor": 2.5},  # folded already: nothing is normalised
        {"activation_fn_kwargs": {"k": 4}},
        {"d_out": D},
        {"hook_point_out": "blocks.12.hook_resid_post"},
        {"is_transcoder": False},
        {"some_setting_of_the_training": {"deep": [1, None]}},
    ],
)
def test_what_saelens_passes_over_as_well_changes_nothing(changes: dict[str, Any], tmp_path: Path) -> None:
    plain = write_saelens(tmp_path / "plain", saelens_config("standard"), saelens_tensors("b_enc"))
    other = write_saelens(tmp_path / "other", saelens_config("standard", **changes), saelens_tensors("b_enc"))
    ours, theirs = (SparseAutoencoder.load(folder).encode(states()) for folder in (plain, other))
    assert torch.equal(ours, theirs)


def test_tensors_besides_the_sae_are_refused_in_every_suite_that_names_its_own(tmp_path: Path) -> None:
    for builder in BUILDERS:
        if builder.name not in ("saelens", "gemma_scope", "gemma_scope_2", "sparsify"):
            continue  # the others' files hold the whole state of a training module
        path = builder.write(tmp_path / builder.write.__name__)
        file = path / builder.weights
        if file.suffix == ".npz":
            np.savez(file, more=np.ones(3), **{name: tensor.numpy() for name, tensor in builder.tensors().items()})
        else:
            save_file({**load_file(file), "more": torch.ones(3)}, file)
        with pytest.raises(InputError, match="holds 'more', which is no part of this kind of SAE"):
            SparseAutoencoder.load(path)
