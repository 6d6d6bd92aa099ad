import os

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.sae.formats.builders import llama_scope_tensors, normal, write_llama_scope

from saelex.errors import InputError
from saelex.sae.autoencoder import SparseAutoencoder
from saelex.sae.formats import decoder_norms as module
from saelex.sae.formats.decoder_norms import decoder_norms


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SAELEX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def decoder_file(tmp_path, dtype=torch.bfloat16, latents=1):
    folder = tmp_path / "model"
    folder.mkdir()
    decoder = (normal(11, 37, seed=2) * 3).to(dtype)
    stored = decoder if latents == 1 else decoder.T.contiguous()
    save_file({"a": normal(5, seed=3), "decoder": stored, "z": normal(5, seed=4)}, folder / "w.st")
    return folder / "w.st", decoder.double().norm(dim=0)


@pytest.mark.parametrize("latents", [0, 1])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("bytes_at_a_time", [1, 300, 1 << 22])
def test_the_lengths_whatever_the_pieces(tmp_path, monkeypatch, dtype, latents, bytes_at_a_time):
    monkeypatch.setattr(module, "_BYTES_AT_A_TIME", bytes_at_a_time)
    path, expected = decoder_file(tmp_path, dtype, latents)
    norms = decoder_norms(path, "decoder", (11, 37) if latents == 1 else (37, 11), latents)
    assert norms.dtype == torch.float32
    torch.testing.assert_close(norms.double(), expected, rtol=1e-6, atol=0)


def rewrite_decoder(path, keep_time):
    """Other decoder, same size; the file's time as it was, or a second later."""
    status = path.stat()
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    tensors["decoder"] *= 2
    save_file(tensors, path)
    later = 0 if keep_time else 10**9
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + later))


def test_remembered_beside_the_file_until_it_changes(tmp_path, own_cache):
    path, expected = decoder_file(tmp_path)
    first = decoder_norms(path, "decoder", (11, 37), 1)
    assert (path.parent / "w.decoder_norms.safetensors").is_file()
    assert not own_cache.exists()
    rewrite_decoder(path, keep_time=True)  # what is remembered is what tells that the decoder was not read
    torch.testing.assert_close(decoder_norms(path, "decoder", (11, 37), 1), first, rtol=0, atol=0)
    rewrite_decoder(path, keep_time=False)
    torch.testing.assert_close(decoder_norms(path, "decoder", (11, 37), 1).double(), expected * 4)


def test_a_link_leaves_the_hubs_folders_alone(tmp_path, own_cache):
    path, expected = decoder_file(tmp_path)
    link = tmp_path / "snapshots" / "w.st"
    link.parent.mkdir()
    link.symlink_to(path)
    decoder_norms(link, "decoder", (11, 37), 1)
    assert [file.name for file in link.parent.iterdir()] == ["w.st"]
    assert [file.name for file in path.parent.iterdir()] == ["w.st"]
    assert len(list((own_cache / "decoder_norms").iterdir())) == 1
    rewrite_decoder(path, keep_time=True)
    torch.testing.assert_close(decoder_norms(link, "decoder", (11, 37), 1).double(), expected)


def test_where_nothing_can_be_written_beside_the_file(tmp_path, own_cache):
    path, expected = decoder_file(tmp_path)
    (path.parent / "w.decoder_norms.safetensors" / "in-the-way").mkdir(parents=True)
    decoder_norms(path, "decoder", (11, 37), 1)
    assert len(list((own_cache / "decoder_norms").iterdir())) == 1
    rewrite_decoder(path, keep_time=True)
    torch.testing.assert_close(decoder_norms(path, "decoder", (11, 37), 1).double(), expected)
    assert {file.name for file in path.parent.iterdir()} == {"w.st", "w.decoder_norms.safetensors"}


@pytest.mark.parametrize("content", [b"", b"{}", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_a_damaged_memory_is_made_anew(tmp_path, content):
    path, expected = decoder_file(tmp_path)
    (path.parent / "w.decoder_norms.safetensors").write_bytes(content)
    torch.testing.assert_close(decoder_norms(path, "decoder", (11, 37), 1).double(), expected)
    remembered = load_file(path.parent / "w.decoder_norms.safetensors")["norms"]
    torch.testing.assert_close(remembered.double(), expected)


def test_a_decoder_that_is_not_finite_is_not_remembered(tmp_path):
    tensors = llama_scope_tensors()
    tensors["decoder.weight"][3, 5] = torch.nan
    folder = write_llama_scope(tmp_path, tensors)
    for _ in range(2):
        with pytest.raises(InputError, match=r"decoder\.weight holds NaN"):
            SparseAutoencoder.load(folder, decoder=False)
    assert [file.name for file in (folder / "checkpoints").iterdir()] == ["final.safetensors"]


def test_the_second_load_of_an_sae_does_not_read_the_decoder(tmp_path, monkeypatch):
    folder = write_llama_scope(tmp_path)
    first = SparseAutoencoder.load(folder, decoder=False)

    def read(*_):
        raise AssertionError("the decoder was read again")

    monkeypatch.setattr(module, "_rows", read)
    for decoder in (False, True):
        again = SparseAutoencoder.load(folder, decoder=decoder)
        torch.testing.assert_close(again.encoder_scale, first.encoder_scale, rtol=0, atol=0)
