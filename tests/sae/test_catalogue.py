from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saelex.errors import InputError, MismatchError
from saelex.sae import catalogue
from saelex.sae.catalogue import CatalogueEntry, find, neuronpedia_of, resolve, search, suites
from saelex.sae.config import SaeConfig

ENTRIES = search()


def test_gemma_scope() -> None:
    entry = find("gemma-scope/2b/16/65k/128")
    assert (entry.repo, entry.file) == (
        "google/gemma-scope-2b-pt-res",
        "layer_16/width_65k/average_l0_128/params.npz",
    )
    assert (entry.model.name, entry.layer, entry.d_model, entry.n_latents) == ("google/gemma-2-2b", 16, 2304, 65_536)
    assert (entry.suite.format, entry.suite.gate, entry.suite.licence) == ("gemma_scope", "jumprelu", "cc-by-4.0")
    assert (entry.l0, entry.hook_name) == (128, "blocks.16.hook_resid_post")
    assert entry.neuronpedia == "gemma-2-2b/16-gemmascope-res-65k"
    assert entry.file_bytes == pytest.approx(1_208_494_296, abs=2_000)  # the published file's size, headers and all
    # 65,536 x 2,304 numbers, and a bias and a threshold of float32 for every latent
    assert entry.head_bytes("float32") == 65_536 * (2_304 * 4 + 8)
    assert entry.head_bytes("bfloat16") == 65_536 * (2_304 * 2 + 8)


def test_llama_scope() -> None:
    entry = find("llama-scope/l26r-32x")
    assert (entry.repo, entry.file) == (
        "fnlp/Llama3_1-8B-Base-LXR-32x",
        "Llama3_1-8B-Base-L26R-32x/checkpoints/final.safetensors",
    )
    assert (entry.model.name, entry.layer, entry.n_latents, entry.l0) == ("meta-llama/Llama-3.1-8B", 26, 131_072, 50)
    assert entry.file_bytes == pytest.approx(2_147_754_376, abs=1_000)
    assert find("llama-scope/l8r-8x").n_latents == 32_768
    assert find("llama-scope/l8r-8x").path_in_repo == "Llama3_1-8B-Base-L8R-8x"


@pytest.mark.parametrize(
    ("name", "repo", "file", "latents", "l0", "page"),
    [
        (
            "gemma-scope-2/1b-pt/13/65k/medium",
            "google/gemma-scope-2-1b-pt",
            "resid_post/layer_13_width_65k_l0_medium/params.safetensors",
            65_536,
            60,
            "gemma-3-1b/13-gemmascope-2-res-65k",
        ),
        (
            "gemma-scope-2/4b-it-all/5/262k/big",
            "google/gemma-scope-2-4b-it",
            "resid_post_all/layer_5_width_262k_l0_big/params.safetensors",
            262_144,
            86,
            None,
        ),
        (
            "gemma-scope-2/270m-pt/5/16k/small",
            "google/gemma-scope-2-270m-pt",
            "resid_post/layer_5_width_16k_l0_small/params.safetensors",
            16_384,
            18,
            None,
        ),
        (
            "gemma-scope/9b/20/131k/62",
            "google/gemma-scope-9b-pt-res",
            "layer_20/width_131k/average_l0_62/params.npz",
            131_072,
            62,
            "gemma-2-9b/20-gemmascope-res-131k__l0-62",
        ),
        (
            "qwen-scope/qwen3-1.7b/14/32k/50",
            "Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_50",
            "layer14.sae.pt",
            32_768,
            50,
            None,
        ),
        (
            "qwen-scope/qwen3.5-35b-a3b/0/128k/100",
            "Qwen/SAE-Res-Qwen3.5-35B-A3B-Base-W128K-L0_100",
            "layer0.sae.pt",
            131_072,
            100,
            None,
        ),
        (
            "llama-scope-r1-distill/l15r-mixed",
            "fnlp/Llama-Scope-R1-Distill",
            "400M-Slimpajama-400M-OpenR1-Math-220k/L15R/sae_weights.safetensors",
            32_768,
            None,
            "deepseek-r1-distill-llama-8b/15-llamascope-slimpj-openr1-res-32k",
        ),
        (
            "sparsify/llama-3.1-8b-64x/29",
            "EleutherAI/sae-llama-3.1-8b-64x",
            "layers.29/sae.safetensors",
            262_144,
            None,
            None,
        ),
        (
            "llama-3.1-8b-instruct-andyrdt/19",
            "andyrdt/saes-llama-3.1-8b-instruct",
            "resid_post_layer_19/trainer_1/ae.pt",
            131_072,
            64,
            "llama3.1-8b-it/19-resid-post-aa",
        ),
        (
            "gpt2-small-res-jb/blocks.8.hook_resid_pre",
            "jbloom/GPT2-Small-SAEs-Reformatted",
            "blocks.8.hook_resid_pre/sae_weights.safetensors",
            24_576,
            60,
            "gpt2-small/8-res-jb",
        ),
    ],
)
def test_where_files_lie(name: str, repo: str, file: str, latents: int, l0: int | None, page: str | None) -> None:
    entry = find(name)
    assert (entry.id, entry.repo, entry.file, entry.n_latents) == (name, repo, file, latents)
    assert (entry.l0, entry.neuronpedia) == (l0, page)


def test_states_before_a_block_are_those_after_the_one_before() -> None:
    assert find("gpt2-small-res-jb/blocks.8.hook_resid_pre").layer == 7
    assert find("mistral-7b-res-wg/blocks.16.hook_resid_pre").layer == 15


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("gemma-scope/2b/16/65k", "128"),  # SAELens's canonical pick
        ("gemma-scope/2b/12/65k", "72"),  # so is this one, of 21 38 72 141 297
        ("gemma-scope/2b/12/131k", "129"),  # none is canonical, of 12 20 36 67 129 264 this is nearest to 100
        ("gemma-scope-2/1b-pt/13/65k", "medium"),
        ("gemma-scope-2/1b-pt-all/13/16k", "big"),  # 120 against 20
        ("qwen-scope/qwen3-8b/3/64k", "100"),
    ],
)
def test_a_name_without_variant_means_the_canonical_one(name: str, variant: str) -> None:
    assert find(name).id == f"{name}/{variant}"


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("gemma-scope-2b-pt-res-canonical/layer_16/width_65k/canonical", "gemma-scope/2b/16/65k/128"),
        ("gemma-scope-2b-pt-res/layer_16/width_65k/average_l0_21", "gemma-scope/2b/16/65k/21"),
        ("gemma-scope-2-1b-it-res/layer_13_width_16k_l0_medium", "gemma-scope-2/1b-it/13/16k/medium"),
        ("llama_scope_lxr_32x/l26r_32x", "llama-scope/l26r-32x"),
        ("qwen-scope-3-1.7b-base-w32k-l50/layer14", "qwen-scope/qwen3-1.7b/14/32k/50"),
        ("gemma-2-2b-res-matryoshka-dc/blocks.12.hook_resid_post", "gemma-2-2b-res-matryoshka-dc/12"),
        ("google/gemma-scope-2b-pt-res/layer_16/width_65k/average_l0_128", "gemma-scope/2b/16/65k/128"),
        ("google/gemma-scope-2b-pt-res/layer_16/width_65k/average_l0_128/params.npz", "gemma-scope/2b/16/65k/128"),
        ("Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_50/layer14.sae.pt", "qwen-scope/qwen3-1.7b/14/32k/50"),
        ("fnlp/Llama3_1-8B-Base-LXR-8x/Llama3_1-8B-Base-L8R-8x/", "llama-scope/l8r-8x"),
    ],
)
def test_names_of_others(name: str, id: str) -> None:
    assert find(name).id == id


def test_resolve() -> None:
    entry = resolve("google/gemma-scope-2b-pt-res", "layer_16/width_65k/average_l0_128")
    assert entry is not None and entry.id == "gemma-scope/2b/16/65k/128"
    only = resolve("Goodfire/Llama-3.1-8B-Instruct-SAE-l19")  # a repository of one SAE
    assert only is not None and only.layer == 19
    with pytest.raises(InputError, match="holds 312 SAEs that are known; name one, such as gemma-scope/2b/"):
        resolve("google/gemma-scope-2b-pt-res")
    assert resolve("someone/their-sae") is None
    assert resolve("google/gemma-scope-2b-pt-res", "layer_16/width_65k/average_l0_7") is None
    with pytest.raises(InputError, match="did you mean llama-scope/l26r"):
        resolve("llama-scope/l26r-16x")  # of the form of a hub id


def test_unknown_names_get_similar_ones() -> None:
    with pytest.raises(InputError, match=r"did you mean gemma-scope/2b/16/65k/128"):
        find("gemma-scope/2b/16/65k/129")
    with pytest.raises(InputError, match="saelex sae list"):
        find("zzz")


def test_search() -> None:
    assert {entry.suite.name for entry in search("llama-3.1-8B")} == {
        "llama-scope",
        "sparsify/llama-3.1-8b-64x",
        "goodfire-llama-3.1-8b-instruct",
        "llama-3.1-8b-instruct-andyrdt",
    }
    assert {entry.layer for entry in search("gemma-2-2b", 16)} == {16}
    with pytest.raises(InputError, match="it knows google/gemma-2-2b"):
        search("gpt-9")
    with pytest.raises(InputError, match="for layer 7, only for 9, 20, 31"):
        search("gemma-2-9b-it", 7)


def test_every_entry_is_well_formed() -> None:
    for entry in ENTRIES:
        where = f"{entry.id}: {entry.repo} {entry.file}"
        assert not re.search(r"[{}*+\s]|//", entry.id + entry.repo + entry.file), where
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", entry.repo), where
        assert re.search(r"\.(npz|safetensors|pt|pth)$", entry.file), where
        assert 0 <= entry.layer < entry.model.blocks, where
        assert entry.d_model < entry.n_latents, where
        assert entry.suite.gate in ("relu", "jumprelu", "topk", "batch_topk"), where
        assert entry.l0 is None or 0 < entry.l0 < entry.n_latents, where
        assert (entry.neuronpedia is not None) <= entry.has_page, where


def test_no_two_entries_share_a_name_or_a_file() -> None:
    assert max(Counter(suite.name for suite in suites()).values()) == 1
    assert max(Counter(entry.id for entry in ENTRIES).values()) == 1
    assert max(Counter((entry.repo, entry.file) for entry in ENTRIES).values()) == 1
    spelled = Counter(name for entry in ENTRIES for name in set(entry.spellings()))
    assert max(spelled.values()) == 1


def test_every_layer_and_width_has_one_default() -> None:
    defaults = Counter((entry.suite.name, entry.layer, entry.width) for entry in ENTRIES if entry.default)
    assert set(defaults) == {(entry.suite.name, entry.layer, entry.width) for entry in ENTRIES}
    assert set(defaults.values()) == {1}


@given(st.sampled_from(ENTRIES))
def test_every_spelling_finds_its_entry(entry: CatalogueEntry) -> None:
    for name in entry.spellings():
        assert find(name) == entry


@pytest.mark.parametrize(
    ("repository", "saes"),
    [  # as SAELens lists them, embedding SAEs left out
        ("google/gemma-scope-2b-pt-res", 312),
        ("google/gemma-scope-9b-pt-res", 532),
        ("google/gemma-scope-9b-it-res", 30),
        ("google/gemma-scope-27b-pt-res", 18),
        ("google/gemma-scope-2-1b-pt", 52 + 104),
        ("google/gemma-scope-2-27b-it", 52 + 248),
        ("fnlp/Llama3_1-8B-Base-LXR-32x", 32),
        ("fnlp/Llama-Scope-R1-Distill", 96),
        ("Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_100", 28),
    ],
)
def test_suites_are_whole(repository: str, saes: int) -> None:
    assert sum(entry.repo == repository for entry in ENTRIES) == saes


@pytest.mark.parametrize("model", ["gemma-2-2b", "google/gemma-2-2b", None])
def test_what_a_file_does_not_say_comes_from_the_catalogue(model: str | None) -> None:
    entry = find("gemma-scope/2b/16/65k/128")
    config = entry.completed(SaeConfig(2304, 65_536, model_name=model, source="x", metadata={"a": 1}))
    assert (config.model_name, config.layer, config.hook_name) == ("google/gemma-2-2b", 16, "blocks.16.hook_resid_post")
    assert (config.source, config.metadata) == ("x", {"a": 1, "neuronpedia_id": "gemma-2-2b/16-gemmascope-res-65k"})
    own = entry.completed(SaeConfig(2304, 65_536, metadata={"neuronpedia_id": "gemma-2-2b/of-the-file"}))
    assert own.neuronpedia == "gemma-2-2b/of-the-file"


@pytest.mark.parametrize(
    ("description", "found"),
    [
        ({"sae": "gemma-scope/2b/16/65k/128"}, "gemma-2-2b/16-gemmascope-res-65k"),
        ({"sae": "google/gemma-scope-2b-pt-res/layer_16/width_65k/average_l0_128"}, "gemma-2-2b/16-gemmascope-res-65k"),
        ({"sae": "gemma-scope/2b/16/65k/128", "neuronpedia": "gemma-2-2b/other"}, "gemma-2-2b/other"),
        ({"sae": "gemma-scope/2b/16/65k/128", "neuronpedia": None}, None),
        ({"neuronpedia": "../secret"}, None),
        ({"sae": "runs/my-sae"}, None),
        ({"sae": 4}, None),
        ({}, None),
    ],
)
def test_where_an_encoders_latents_are_published(description: dict[str, object], found: str | None) -> None:
    assert neuronpedia_of(description) == found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"d_model": 2305}, "d_model is 2305"),
        ({"n_latents": 16_384}, "n_latents is 16384"),
        ({"layer": 15}, "layer is 15"),
        ({"model_name": "google/gemma-2-9b"}, "trained on google/gemma-2-9b"),
        ({"model_name": None, "hook_name": "blocks.16.hook_mlp_out"}, "reads blocks.16.hook_mlp_out"),
    ],
)
def test_a_file_that_says_something_else_is_refused(change: dict[str, object], said: str) -> None:
    entry = find("gemma-scope/2b/16/65k/128")
    config = SaeConfig(2304, 65_536, source="here")
    with pytest.raises(MismatchError, match=f"here: .*{said}"):
        entry.completed(replace(config, **change))  # type: ignore[arg-type]


def test_neither_the_package_nor_help_reads_the_catalogue() -> None:
    code = (
        "import sys, saelex\n"
        "sys.argv = ['saelex', 'sae', 'list', '--help']\n"
        "from saelex.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('LOADED', sorted(name for name in ('saelex.sae.catalogue', 'yaml', 'torch') if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_names_need_no_torch() -> None:
    code = f"import sys, {catalogue.__name__} as c; c.find('llama-scope/l26r-32x'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
