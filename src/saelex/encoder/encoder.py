"""Encoder: text in, sparse latent vectors out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from itertools import tee
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from saelex.encoder.batching import DistinctTexts, windows
from saelex.encoder.inference import encode_texts, median_norm
from saelex.encoder.parts import EncoderParts
from saelex.encoder.settings import DEFAULT, Side, TopKChoice
from saelex.encoder.tokens import check_texts
from saelex.errors import InputError, MismatchError
from saelex.hub import asking_hub
from saelex.installation import naming_extras
from saelex.loading import Loading, LoadingOptions
from saelex.progress import progress_bar
from saelex.vectors import SparseRows

if TYPE_CHECKING:
    import torch
    from typing_extensions import Unpack

    from saelex.encoder.parallel import Processes
    from saelex.encoder.runtimes.runtime import Precision, RuntimeChoice

WINDOW = 4096
"""Texts that are tokenised and sorted by length together."""


class Encoder(EncoderParts):
    """Text in, sparse vectors out: an encoder's parts, which `EncoderParts` names one by one, at work.

    Made by `load`, `from_sae` or `from_vocabulary`, or of the parts themselves.
    """

    # ---- making one -------------------------------------------------------------------------------------------------

    @classmethod
    def load(
        cls,
        source: str | Path,
        *,
        runtime: RuntimeChoice = "auto",
        precision: Precision | None = None,
        **options: Unpack[LoadingOptions],
    ) -> Encoder:
        """An encoder from a name, a folder or a Hugging Face hub id.

        source: "saelex-minilm", the embedded default, or "saelex-multilingual"; a folder that `save_pretrained` wrote;
            a SPLADE checkpoint (a masked language model); a sentence-transformers SparseEncoder; an OpenSearch doc-only
            model.
        runtime: what computes: "torch", which every model has; for models of saelex over a BERT in float32 also
            "numpy", "onnxruntime" and "openvino", which need no torch; "auto" is torch or numpy (see
            `saelex.encoder.runtimes.choosing`) and says so in a log line. torch's modules, `backbone` and `head`, are
            loaded all the same when they are asked for, and then compute.
        precision: of the backbone's products: "float32" (default), or for some runtimes "bfloat16" or "int8". Other
            arithmetic is the same encoder, with the same fingerprint: probe texts in the model folder are compared.
        options: device (a GPU where there is one, unless told otherwise), dtype of the backbone, revision and token, as
            in `saelex.loading.Loading`. Device and dtype are torch's.

        Raises InputError for anything else, MismatchError when parts of the folder do not belong together, or a runtime
        gives other vectors than the folder's probes.
        """
        from saelex.encoder.files.folder import load_encoder

        with naming_extras():
            return load_encoder(cls, source, Loading(**options), runtime, precision)

    # ---- text to vectors --------------------------------------------------------------------------------------------

    def encode_query(
        self,
        texts: str | Sequence[str],
        *,
        top_k: TopKChoice = DEFAULT,
        progress: bool = False,
        processes: Processes = None,
    ) -> SparseRows:
        """Query vectors, one row per text, in order; a single string gives one row.

        top_k: latents kept per row: a number, "40+80%" (see `SparseRows.top_k`), None for all, or "default" for the
            settings' `query_top_k`.
        processes: a number of worker processes or a list of their devices.
        """
        return self.encode(texts, side="query", top_k=top_k, progress=progress, processes=processes)

    def encode_document(
        self,
        texts: str | Sequence[str],
        *,
        top_k: TopKChoice = DEFAULT,
        progress: bool = False,
        processes: Processes = None,
    ) -> SparseRows:
        """Document vectors, one row per text, in order. Arguments as in `encode_query`."""
        return self.encode(texts, side="document", top_k=top_k, progress=progress, processes=processes)

    def encode(
        self,
        texts: str | Sequence[str],
        *,
        side: Side,
        top_k: TopKChoice = DEFAULT,
        progress: bool = False,
        processes: Processes = None,
    ) -> SparseRows:
        """Vectors of one side; `encode_query` and `encode_document` are this with the side named.

        Equal texts of one call get equal vectors, bit by bit: each different text is encoded once. Between calls a
        text's vector may differ in the last bits, because products of other shapes add up in another order.
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        check_texts(texts)
        distinct = DistinctTexts.of(texts)
        rows = list(self._encoded(distinct.windows(WINDOW), len(texts), side, top_k, progress, processes))
        return SparseRows.concatenate(rows)[distinct.which] if rows else SparseRows.empty(self.n_latents)

    def encode_stream(
        self,
        texts: Iterable[str],
        *,
        side: Side = "document",
        top_k: TopKChoice = DEFAULT,
        chunk_size: int = WINDOW,
        progress: bool = False,
        processes: Processes = None,
    ) -> Iterator[SparseRows]:
        """Rows in input order, a chunk of `chunk_size` texts at a time: a generator of a million texts never adds up.

        Batches are made inside a chunk, so a small one pads more. Equal texts get equal vectors, bit by bit, where they
        are in one chunk; `encode` says what holds otherwise. Arguments as in `encode_query`.
        """
        if chunk_size < 1:
            raise InputError(f"chunk_size is at least 1, not {chunk_size}")

        def chunks() -> Iterator[DistinctTexts]:
            seen = 0
            for chunk in windows(texts, chunk_size):
                check_texts(chunk, seen)
                seen += len(chunk)
                yield DistinctTexts.of(chunk)

        total = len(texts) if isinstance(texts, Sequence) else None
        return self._encoded(chunks(), total, side, top_k, progress, processes)

    def _encoded(
        self,
        chunks: Iterable[DistinctTexts],
        total: int | None,
        side: Side,
        top_k: TopKChoice,
        progress: bool,
        processes: Processes,
    ) -> Iterator[SparseRows]:
        """Rows of every chunk's texts as they were given. total: of given texts, for the progress bar."""
        k = self.settings.top_k(side, top_k)
        devices: list[str] = []
        if processes is not None:
            from saelex.encoder.parallel import encode_windows, worker_devices

            devices = worker_devices(processes, self.place)
        with ExitStack() as stack:
            bar = stack.enter_context(progress_bar(total=total, unit="text", desc=f"encode {side}", shown=progress))
            if devices:
                load = stack.enter_context(self._loading_again())
                handed_out, waited_for = tee(chunks)
                texts = (chunk.texts for chunk in handed_out)
                encoded = stack.enter_context(closing(encode_windows(load, devices, texts, side, k)))
                for rows, chunk in zip(encoded, waited_for):
                    bar.update(int(chunk.copies.sum()))
                    yield rows[chunk.which]
            else:
                for chunk in chunks:
                    yield encode_texts(self, chunk, side, k, bar.update)

    def token_spans(self, text: str, side: Side) -> list[tuple[int, int]]:
        """Character span in `text` of every token that `SparseRows.positions` may name.

        (0, 0) for special tokens and for the prompt's tokens.
        """
        check_texts([text])
        return self.tokenizer.spans(text, side)

    def measure_sink_norm(self, texts: Sequence[str], factor: float = 10.0) -> float:
        """`factor` times the median L2 norm of the texts' pooled tokens, for the setting `sink_norm`.

        Sinks lie far above: more than 100 times the median in Qwen's residual stream.
        """
        return factor * median_norm(self, texts)

    # ---- vectors to scores and words --------------------------------------------------------------------------------

    def similarity(self, queries: SparseRows, documents: SparseRows) -> NDArray[np.float32]:
        """Dot products, float32 [queries, documents]."""
        return queries.dot(documents)

    def decode(self, rows: SparseRows, top: int | None = None) -> list[list[tuple[str, float]]]:
        """Each row's `top` heaviest latents (None: all) as (label, weight), heaviest first.

        A latent without a known label is "latent 4711".
        """
        if rows.n_latents != self.n_latents:
            raise MismatchError(f"the rows have {rows.n_latents} latents, this encoder {self.n_latents}")
        named: list[list[tuple[str, float]]] = []
        for latents, weights in rows:
            heaviest = np.argsort(-weights, kind="stable")[:top]
            named.append([(self.label(int(latents[i])), float(weights[i])) for i in heaviest])
        return named

    def label(self, latent: int) -> str:
        """What is known of a latent, or its number."""
        return self.labels.get(latent, f"latent {latent}")

    def neighbours(self, latent: int, n: int) -> list[tuple[int, float]]:
        """The n latents whose directions in the head are nearest to that of this one, with the cosines, nearest first.

        Raises InputError where there is no latent of that number.
        """
        return self._head.neighbours(latent, n)

    # ---- identity and files -----------------------------------------------------------------------------------------

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        include_backbone: bool | None = None,
        weight_dtype: torch.dtype | None = None,
        card_name: str | None = None,
        extra_files: Mapping[str, bytes | str] | None = None,
    ) -> None:
        """Write the model folder, whole or not at all; `encoder.files.folder.save_encoder` explains the arguments."""
        from saelex.encoder.files.folder import save_encoder

        save_encoder(
            self,
            Path(folder),
            include_backbone=include_backbone,
            weight_dtype=weight_dtype,
            card_name=card_name,
            extra_files=extra_files,
        )

    def push_to_hub(
        self,
        repo: str,
        *,
        private: bool = False,
        token: str | None = None,
        include_backbone: bool | None = None,
        weight_dtype: torch.dtype | None = None,
    ) -> str:
        """Upload what `save_pretrained` writes to the Hugging Face hub; returns the commit's address."""
        from huggingface_hub import HfApi

        api = HfApi(token=token)
        with TemporaryDirectory() as scratch:
            folder = Path(scratch) / "model"
            self.save_pretrained(folder, include_backbone=include_backbone, weight_dtype=weight_dtype, card_name=repo)
            with asking_hub(repo):
                api.create_repo(repo, private=private, exist_ok=True)
                return str(api.upload_folder(repo_id=repo, folder_path=folder, commit_message="saelex encoder"))

    @contextmanager
    def _loading_again(self) -> Iterator[Callable[..., Encoder]]:
        """What loads this very encoder on a device, in worker processes."""
        if (stored := self._stored) is not None:  # as it lies in its folder
            yield partial(_load_worker, stored.folder, *stored.arithmetic)
            return
        with TemporaryDirectory(prefix="saelex-encoder-") as scratch:
            folder = Path(scratch) / "model"
            self.save_pretrained(folder)
            token = self.backbone.checkpoint.loading.token
            yield partial(Encoder.load, folder, runtime="torch", dtype=self.backbone.dtype, token=token)


def _load_worker(folder: Path, runtime: RuntimeChoice, precision: Precision, *, device: str) -> Encoder:
    if device != "cpu":
        raise InputError(f"{runtime} computes on the CPU, not on {device!r}; load the encoder with runtime='torch'")
    return Encoder.load(folder, runtime=runtime, precision=precision)
