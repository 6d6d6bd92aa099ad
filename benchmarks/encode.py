"""Encoding documents, beside sentence-transformers' SparseEncoder with the same weights: speed and peak memory.

    python benchmarks/encode.py --json encode.json

The texts are the demo's, Python's documentation, every n-th in its own order. The model is all-MiniLM-L6-v2 with a
random linear head of 32,768 latents, whose bias lets some hundred of them fire per document; max pooling over all
tokens, log1p, no Top-K. sentence-transformers runs its own Transformer, a linear layer on every token, and its own
SpladePooling, at its default batch size; saelex runs its defaults. Both cut at 256 tokens.

Each system runs in a fresh process: a warm-up, then --repeats passes, in turn with the other systems; the best pass
counts. Peak memory is the highest resident set of that whole process, libraries and weights included; the memory above
what was resident before encoding is given too. The vectors of both are compared before anything is reported. The int8
row quantises the backbone's linear layers dynamically (torch.ao); the cosine with the float32 vectors says what that
costs.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from report import Report
from saelex.corpus.python_docs import python_documentation
from saelex.encoder.backbone.packaged import MINILM, locate
from saelex.vectors import SparseRows

N_LATENTS = 32_768
D_MODEL = 384
MAX_LENGTH = 256
BIAS = -1.6  # on unit-norm rows: about 400 active latents per document
SYSTEMS = ("sentence-transformers", "saelex", "saelex int8")
COMPARED = 48  # documents whose vectors are compared


@dataclass(frozen=True)
class Measured:
    """One system's process: best seconds, MiB of resident memory, and the vectors of the first documents."""

    seconds: float
    peak_mib: float
    before_mib: float
    nonzeros: float
    vectors: NDArray[np.float32]


def head_weights() -> tuple[Tensor, Tensor]:
    """The same random weight [latents, d_model], rows of unit norm, and bias [latents] in every process."""
    weight = torch.randn(N_LATENTS, D_MODEL, generator=torch.Generator().manual_seed(0))
    return nn.functional.normalize(weight, dim=1), torch.full((N_LATENTS,), BIAS)


def load_saelex(int8: bool) -> Callable[[list[str]], SparseRows]:
    from saelex.encoder.backbone.backbone import Backbone
    from saelex.encoder.encoder import Encoder
    from saelex.encoder.head import LinearHead
    from saelex.encoder.settings import EncoderSettings
    from saelex.sae.activations import ReLU

    backbone = Backbone.load(MINILM.model_id)
    if int8:
        backbone.model = quantised(backbone.model)
    settings = EncoderSettings(max_document_length=MAX_LENGTH, document_top_k=None, mask_special_tokens=False)
    encoder = Encoder(backbone, LinearHead(*head_weights(), ReLU()), settings)
    return encoder.encode_document


def quantised(model: nn.Module) -> nn.Module:
    """The model with its linear layers in int8, activations quantised as they come."""
    from torch.ao.quantization import quantize_dynamic

    for parent in list(model.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, nn.Linear):  # torch.ao knows nn.Linear itself and none of its subclasses
                plain = nn.Linear(layer.in_features, layer.out_features)
                plain.weight, plain.bias = layer.weight, layer.bias
                parent.add_module(name, plain)
    smaller: nn.Module = quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    return smaller


def load_sentence_transformers() -> Callable[[list[str]], Tensor]:
    from sentence_transformers import SparseEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.base.modules.module import Module
    from sentence_transformers.sparse_encoder.modules import SpladePooling

    class TokenLinear(Module):  # type: ignore[misc]
        """Latents of every token: token_embeddings [texts, length, d_model] -> [texts, length, latents]."""

        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(D_MODEL, N_LATENTS)
            self.linear.weight.data, self.linear.bias.data = head_weights()

        def forward(self, features: dict[str, Tensor], **_: Any) -> dict[str, Tensor]:
            features["token_embeddings"] = self.linear(features["token_embeddings"])
            return features

        def save(self, *_: Any, **__: Any) -> None:
            raise NotImplementedError

    transformer = Transformer(str(locate(MINILM)), max_seq_length=MAX_LENGTH)
    model = SparseEncoder(modules=[transformer, TokenLinear(), SpladePooling("max")], device="cpu")

    def encode(texts: list[str]) -> Tensor:
        rows: Tensor = model.encode_document(texts, show_progress_bar=False)
        return rows

    return encode


def worker(system: str, texts: list[str], wires: Connection) -> None:
    """Waits for "run", encodes once, sends the seconds; ends on anything else with memory and vectors."""
    torch.set_num_threads(cores())
    encode: Callable[[list[str]], Any]
    encode = load_sentence_transformers() if system == SYSTEMS[0] else load_saelex(int8=system.endswith("int8"))
    before = _status_mib("VmRSS")
    encode(texts[:8])
    wires.send("ready")
    while wires.recv() == "run":
        start = time.perf_counter()
        encode(texts)
        wires.send(time.perf_counter() - start)
    peak = _status_mib("VmHWM")
    rows = encode(texts[:COMPARED])
    sparse = rows if isinstance(rows, SparseRows) else SparseRows.from_torch(rows)
    wires.send((peak, before, float(sparse.lengths.mean()), sparse.to_dense()))


def measure(systems: list[str], texts: list[str], repeats: int) -> dict[str, Measured]:
    context = multiprocessing.get_context("spawn")
    seconds: dict[str, list[float]] = {system: [] for system in systems}
    ends: dict[str, tuple[float, float, float, NDArray[np.float32]]] = {}
    running: dict[str, tuple[Connection, Any]] = {}
    for system in systems:
        mine, theirs = context.Pipe()
        process = context.Process(target=worker, args=(system, texts, theirs))
        process.start()
        theirs.close()
        running[system] = (mine, process)
        mine.recv()
    for _ in range(repeats):
        for system, (wires, _process) in running.items():
            wires.send("run")
            seconds[system].append(wires.recv())
    for system, (wires, process) in running.items():
        wires.send("stop")
        ends[system] = wires.recv()
        process.join()
    return {system: Measured(min(seconds[system]), *ends[system]) for system in systems}


def report(measured: dict[str, Measured], documents: int, texts: str) -> Report:
    theirs, ours, int8 = (measured[system] for system in SYSTEMS)
    apart = float(np.abs(theirs.vectors - ours.vectors).max())
    if apart > 1e-4:
        raise SystemExit(f"the vectors differ by {apart}; nothing to compare")
    summary = Report(
        f"Encoding {documents} documents ({texts}), {N_LATENTS:,} latents, {ours.nonzeros:.0f} active each"
    )
    summary.add(
        "docs_per_s_ratio", theirs.seconds / ours.seconds, "times", 1.5, "float32, against sentence-transformers"
    )
    summary.add("memory_ratio", ours.peak_mib / theirs.peak_mib, "share", "at most 1/3", "peak resident, whole process")
    for name, one in (("sentence_transformers", theirs), ("saelex", ours), ("saelex_int8", int8)):
        summary.add(f"{name}_docs_per_s", documents / one.seconds, "docs/s")
        summary.add(
            f"{name}_peak_mib",
            one.peak_mib,
            "MiB",
            None,
            f"{one.peak_mib - one.before_mib:.0f} MiB above the loaded model",
        )
    summary.add("int8_docs_per_s_ratio", theirs.seconds / int8.seconds, "times", None, "against sentence-transformers")
    summary.add(
        "int8_cosine", _mean_cosine(int8.vectors, ours.vectors), "cosine", None, "with the float32 vectors, mean"
    )
    summary.add("largest_difference", apart, "weight", 1e-4, f"between both float32 vectors of {COMPARED} documents")
    return summary


def _mean_cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(((a * b).sum(1)[lengths > 0] / lengths[lengths > 0]).mean())


def _status_mib(key: str) -> float:
    """A memory figure of this process from /proc/self/status, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) / 1024


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=1200)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    everything = [document.content for document in python_documentation()]
    step = max(1, len(everything) // arguments.documents)
    texts = everything[::step][: arguments.documents]
    measured = measure(list(SYSTEMS), texts, arguments.repeats)
    summary = report(measured, len(texts), f"every {step}th of {len(everything)}")
    summary.print()
    if arguments.json:
        summary.write(arguments.json)


if __name__ == "__main__":
    main()
