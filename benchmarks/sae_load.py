"""From a published SAE's files to a head: time and peak memory, beside reading the encoder's bytes once.

    python benchmarks/sae_load.py --saelens-python VENV/bin/python --json sae_load.json

The SAE is written in Llama Scope's own layout to a temporary folder: encoder and decoder of 131,072 latents x 4,096
dimensions in bfloat16, 1.07 GB each (--latents for less), of random numbers; the folder is removed afterwards. Each way
of loading runs in a process of its own, on one thread as the reading does, --repeats times, in turn with the others;
the median counts (of two runs for `naive` and `saelens`). The files are in the page cache throughout: a first round,
whose times do not count, reads them.

    read     the encoder's bytes, once, through one buffer: the bound
    ready    SparseAutoencoder.load(decoder=False) and LinearHead.from_sae; the decoder's norms are remembered
    first    the same without that memory: the decoder's bytes are read once as well
    naive    safetensors' load_file and every tensor to float32: no check, no scale, no head
    saelens  SAE.from_pretrained (bfloat16, its default float32), its download replaced by the folder; only with
             --saelens-python, an interpreter that has sae-lens

Peak memory is the highest resident set of a run above that before its first run, imports and a tiny SAE done; pages of
mapped files count. It is given as a multiple of the encoder's bytes. The head is compared with the file's formula.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from report import Report

NAME = "Llama3_1-8B-Base-L24R-32x"
D_MODEL = 4096
NORM, THETA = 29.125, 0.75390625  # as published for layer 24
OURS = ("read", "ready", "first")
OTHERS_REPEATS = 2  # of what takes seconds
SAELENS = ("saelens bfloat16", "saelens float32")


# ---- the files -------------------------------------------------------------------------------------------------------


def write_sae(folder: Path, n_latents: int) -> None:
    """Llama Scope's files, a block at a time."""
    hook = "blocks.24.hook_resid_post"
    values = {
        "hook_point_in": hook, "hook_point_out": hook, "d_model": D_MODEL, "d_sae": n_latents, "expansion_factor": 32,
        "act_fn": "jumprelu", "jump_relu_threshold": THETA, "norm_activation": "dataset-wise",
        "dataset_average_activation_norm": {"in": NORM, "out": NORM}, "use_decoder_bias": True,
        "apply_decoder_bias_to_pre_encoder": False, "sparsity_include_decoder_norm": True, "top_k": 50,
        "use_glu_encoder": False, "dtype": "torch.bfloat16",
    }  # fmt: skip
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "hyperparams.json").write_text(json.dumps(values))
    (folder / "lm_config.json").write_text(json.dumps({"model_name": "meta-llama/Llama-3.1-8B"}))
    shapes = {
        "encoder.weight": [n_latents, D_MODEL],
        "encoder.bias": [n_latents],
        "decoder.weight": [D_MODEL, n_latents],
        "decoder.bias": [D_MODEL],
    }
    header: dict[str, Any] = {}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    generator = torch.Generator().manual_seed(0)
    numbers = (torch.randn(1 << 22, generator=generator) / math.sqrt(D_MODEL)).bfloat16()
    with weights_of(folder).open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for shape in shapes.values():
            for start in range(0, math.prod(shape), len(numbers)):
                turned = numbers.roll(int(torch.randint(len(numbers), (), generator=generator)))
                some = turned[: math.prod(shape) - start]
                file.write(some.view(torch.int16).numpy().data)


def weights_of(folder: Path) -> Path:
    return folder / "checkpoints" / "final.safetensors"


# ---- the ways of loading, each in its own process --------------------------------------------------------------------


def read(folder: Path) -> Callable[[], Any]:
    with weights_of(folder).open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        start, end = json.loads(file.read(length))["encoder.weight"]["data_offsets"]
    buffer = memoryview(bytearray(1 << 22))

    def run() -> None:
        with weights_of(folder).open("rb", buffering=0) as file:
            file.seek(8 + length + start)
            left = end - start
            while left:
                left -= file.readinto(buffer[: min(left, len(buffer))])

    return run


def ready(folder: Path) -> Callable[[], Any]:
    from saelex.encoder.head import LinearHead
    from saelex.sae.autoencoder import SparseAutoencoder

    return lambda: LinearHead.from_sae(SparseAutoencoder.load(folder, decoder=False))


def first(folder: Path) -> Callable[[], Any]:
    load = ready(folder)

    def run() -> Any:
        weights_of(folder).with_suffix(".decoder_norms.safetensors").unlink(missing_ok=True)
        return load()

    return run


def naive(folder: Path) -> Callable[[], Any]:
    from safetensors.torch import load_file

    return lambda: {name: tensor.float() for name, tensor in load_file(weights_of(folder)).items()}


def saelens(folder: Path, dtype: str) -> Callable[[], Any]:
    from sae_lens import SAE
    from sae_lens.loading import pretrained_sae_loaders as loaders

    def local(repo_id: str, filename: str, subfolder: str = "", **_: Any) -> str:
        return str(folder / (Path(subfolder) / filename).relative_to(NAME))

    loaders.hf_hub_download = local
    return lambda: SAE.from_pretrained("llama_scope_lxr_32x", "l24r_32x", dtype=dtype)


def way(kind: str, folder: Path) -> Callable[[], Any]:
    if kind in SAELENS:
        return saelens(folder, kind.split()[1])
    return {"read": read, "ready": ready, "first": first, "naive": naive}[kind](folder)


def worker(kind: str, folder: Path, tiny: Path) -> None:
    """Answers each line with a run's seconds and its peak resident memory, MiB above that before the first run."""
    if kind not in SAELENS:  # whose names of SAEs are those of the published sizes alone
        way(kind, tiny)()
    run = way(kind, folder)
    torch.set_num_threads(1)
    gc.collect()
    before = _status_mib("VmRSS")
    for _ in sys.stdin:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
        start = time.perf_counter()
        made = run()
        seconds = time.perf_counter() - start
        peak = _status_mib("VmHWM")
        del made
        gc.collect()
        print(seconds, peak - before, flush=True)


def _status_mib(key: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) / 1024


# ---- measuring -------------------------------------------------------------------------------------------------------


@dataclass
class Measured:
    """A way's runs: seconds, and peak MiB above what was resident before."""

    seconds: list[float] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


@contextmanager
def started(python: str, kind: str, folder: Path, tiny: Path) -> Iterator[subprocess.Popen[str]]:
    command = [python, __file__, "--worker", kind, str(folder), str(tiny)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process


def run_once(kind: str, process: subprocess.Popen[str]) -> tuple[float, float]:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("run\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"{kind}: its process ended without an answer")
    seconds, peak = line.split()
    return float(seconds), float(peak)


def measure(folder: Path, tiny: Path, repeats: int, saelens_python: str | None) -> dict[str, Measured]:
    kinds = [*OURS, "naive", *(SAELENS if saelens_python else ())]
    measured = {kind: Measured() for kind in kinds}
    with ExitStack() as stack:
        running = {
            kind: stack.enter_context(
                started(saelens_python if saelens_python and kind in SAELENS else sys.executable, kind, folder, tiny)
            )
            for kind in kinds
        }
        for round_ in range(repeats + 1):
            # in this order: `first` leaves the norms remembered for the next round's `ready`
            for kind in kinds if round_ <= OTHERS_REPEATS else OURS:
                seconds, peak = run_once(kind, running[kind])
                measured[kind].peaks.append(peak)
                if round_ > 0:
                    measured[kind].seconds.append(seconds)
    return measured


def check(folder: Path, n_latents: int) -> float:
    """Largest difference between the head and the file's own formula, in float64, over some latents."""
    from safetensors import safe_open

    from saelex.encoder.pooling import pool

    head = ready(folder)()
    states = torch.randn(40, D_MODEL, generator=torch.Generator().manual_seed(1)) * (NORM / math.sqrt(D_MODEL))
    head.saturation = "none"
    with torch.no_grad():
        pooled = pool(states, torch.tensor([0, 40]), head).weights[0].double()
    some = torch.arange(0, n_latents, max(n_latents // 64, 1))

    with safe_open(weights_of(folder), "pt") as file:

        def double(name: str) -> Tensor:
            whole = file.get_tensor(name)
            columns: Tensor = (whole if name == "decoder.weight" else whole.t())[..., some]
            return columns.double()

        pre = states.double() @ double("encoder.weight") + double("encoder.bias") * (NORM / math.sqrt(D_MODEL))
        raw = pre * double("decoder.weight").norm(dim=0)
    expected = torch.where(raw > THETA, raw, 0.0).amax(0)
    if not bool((expected > 0).any()):
        raise SystemExit("no latent fires; nothing to compare")
    return float((pooled[some] - expected).abs().max())


def report(measured: dict[str, Measured], n_latents: int, apart: float) -> Report:
    encoder_mib = n_latents * D_MODEL * 2 / 2**20
    bound = measured["read"].median
    summary = Report(
        f"Loading a Llama Scope SAE, {n_latents:,} x {D_MODEL:,} in bfloat16 ({encoder_mib:.0f} MiB of encoder), "
        "files in the page cache",
        packages=("safetensors",),
    )

    def add(metric: str, kind: str, goal: float | None, note: str) -> None:
        seconds = measured[kind].median
        summary.add(metric, seconds / bound, "times", goal, f"{seconds:.3f} s against {bound:.3f} s; {note}")

    add("ready_ratio", "ready", 1.5, "a head, of reading the encoder's bytes once")
    peak = max(measured["ready"].peaks) / encoder_mib
    summary.add("peak_memory_ratio", peak, "times", 1.2, "peak resident, of the encoder's bytes; mapped pages count")
    add("first_ready_ratio", "first", None, "the first time: the decoder's bytes are read, too")
    peak = max(measured["first"].peaks) / encoder_mib
    summary.add("first_peak_memory_ratio", peak, "times", 1.2, "the same for the first time")
    for kind in [kind for kind in measured if kind not in OURS]:
        name = kind.replace(" ", "_")
        add(f"{name}_ratio", kind, None, "the SAE, not checked and no head yet")
        summary.add(f"{name}_peak_memory_ratio", max(measured[kind].peaks) / encoder_mib, "times")
    summary.add("largest_difference", apart, "latent", 1e-4, "between the head and the file's formula, 64 latents")
    return summary


def main() -> None:
    if sys.argv[1:2] == ["--worker"]:
        worker(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latents", type=int, default=131_072)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the files go for a while; 2.2 GB")
    parser.add_argument("--saelens-python", help="an interpreter that has sae-lens")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
        folder, tiny = Path(scratch) / NAME, Path(scratch) / "tiny" / NAME
        write_sae(folder, arguments.latents)
        write_sae(tiny, 256)
        measured = measure(folder, tiny, arguments.repeats, arguments.saelens_python)
        apart = check(folder, arguments.latents)
    if apart > 1e-4:
        raise SystemExit(f"the head differs from the file's formula by {apart}; nothing to report")
    summary = report(measured, arguments.latents, apart)
    summary.print()
    if arguments.json:
        summary.write(arguments.json)


if __name__ == "__main__":
    main()
