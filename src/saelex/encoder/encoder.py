"""Encoder: text in, sparse latent vectors out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from saelex.encoder.backbone.backbone import Backbone
from saelex.encoder.backbone.vocabulary import Vocabulary, load_transform, load_vocabulary
from saelex.encoder.batching import windows
from saelex.encoder.files.identity import BackboneIdentity, HeadIdentity, fingerprint
from saelex.encoder.head import LinearHead, Pooling, Saturation
from saelex.encoder.inference import encode_texts, median_norm
from saelex.encoder.parallel import Processes, encode_windows, worker_devices
from saelex.encoder.settings import DEFAULT, EncoderSettings, Side, TopKChoice
from saelex.encoder.tokens import TextTokenizer, check_texts, rust_tokenizer
from saelex.errors import InputError, MismatchError
from saelex.vectors import SparseRows

if TYPE_CHECKING:
    from saelex.encoder.token_weights import TokenWeights
    from saelex.encoder.weighting import LatentWeighting
    from saelex.sae.autoencoder import SparseAutoencoder

WINDOW = 4096
"""Texts that are tokenised and sorted by length together."""

BATCH_TOKENS = 4096
"""Tokens of one forward pass, padding counted, unless `Encoder.batch_tokens` says otherwise."""


class Encoder:
    """A backbone, a head over its hidden states, and what turns text into the one and maxima into vectors.

    backbone: hidden states of every token.
    head: latents of every token, and their pooling over a text.
    settings: prompts, lengths, masked tokens and Top-K defaults.
    weighting: frozen corpus statistics over the latents, applied after pooling and before Top-K.
    token_weights: the query side of a doc-only model, which then needs no backbone for queries.
    labels: what is known of latents, by latent; `decode` uses it.
    description: what the model card tells: SAE, training data, licence.
    backbone_identity, head_digest: for the fingerprint, where a model folder has recorded and checked them.
    extra_files: content of more files of the model folder, by relative name: what made the model, in `training/`.

    Raises MismatchError when head and backbone differ in width.
    """

    def __init__(
        self,
        backbone: Backbone,
        head: LinearHead,
        settings: EncoderSettings | None = None,
        *,
        weighting: LatentWeighting | None = None,
        token_weights: TokenWeights | None = None,
        labels: Mapping[int, str] | None = None,
        description: Mapping[str, Any] | None = None,
        name: str | None = None,
        backbone_identity: Mapping[str, Any] | None = None,
        head_digest: str | None = None,
        extra_files: Mapping[str, bytes | str] | None = None,
    ) -> None:
        if head.d_model != backbone.d_model:
            raise MismatchError(
                f"the head reads {head.d_model} dimensions but {backbone.model_id} gives {backbone.d_model}; "
                "use the backbone that the head was made for"
            )
        self.backbone = backbone.eval()
        self.head = head.eval()
        self.weighting = weighting
        self.token_weights = token_weights
        self.labels = dict(labels or {})
        self.description = dict(description or {})
        self.extra_files = dict(extra_files or {})
        self.name = name or backbone.model_id
        self.batch_tokens = BATCH_TOKENS
        self._rust_tokenizer = rust_tokenizer(backbone)
        self.settings = settings or EncoderSettings()
        self.backbone_identity = BackboneIdentity(backbone, backbone_identity)
        self.head_identity = HeadIdentity(head, head_digest)

    # ---- making one -------------------------------------------------------------------------------------------------

    @classmethod
    def load(
        cls,
        source: str | Path,
        *,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        revision: str | None = None,
        token: str | None = None,
    ) -> Encoder:
        """An encoder from a name, a folder or a Hugging Face hub id.

        source: "saelex-minilm" is the embedded default; a folder that `save_pretrained` wrote; a SPLADE checkpoint
            (a masked language model); a sentence-transformers SparseEncoder; an OpenSearch doc-only model.
        device: where to compute; a GPU where there is one. dtype: of the backbone; None keeps the checkpoint's.

        Raises InputError for anything else, MismatchError when parts of the folder do not belong together.
        """
        from saelex.encoder.files.folder import load_encoder

        return load_encoder(source, device=device, dtype=dtype, revision=revision, token=token)

    @classmethod
    def from_sae(
        cls,
        backbone: str | Path | Backbone,
        sae: str | Path | SparseAutoencoder,
        layer: int | None = None,
        *,
        path_in_repo: str | None = None,
        pooling: Pooling = "max",
        saturation: Saturation = "log1p",
        transform: bool | None = None,
        bidirectional: bool | None = None,
        settings: EncoderSettings | None = None,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        revision: str | None = None,
    ) -> Encoder:
        """SPLARE's starting point: a backbone cut at the layer that the SAE reads, and the SAE's encoder as the head.

        layer: 0-based block whose output the SAE reads; the SAE's own config where it says. bidirectional: attention of
        a decoder; None takes the backbone's default. transform: the model's masked-LM transform comes before the SAE;
        None asks the SAE whether it was trained on that (SAE-SPLADE's "h"). Raises MismatchError when SAE, backbone,
        layer and transform do not belong together, InputError for a transform of a model that has none.
        """
        from saelex.sae.autoencoder import SparseAutoencoder

        if not isinstance(sae, SparseAutoencoder):
            sae = SparseAutoencoder.load(sae, path_in_repo, decoder=False)
        layer = sae.config.layer if layer is None else layer
        transform = sae.config.reads_transform if transform is None else transform
        if not isinstance(backbone, Backbone):
            if layer is None and not transform:
                raise InputError("the SAE does not say which layer it reads; give layer=...")
            backbone = Backbone.load(
                backbone,
                layer=layer,
                output="final" if transform else "residual",
                bidirectional=bidirectional,
                device=device,
                dtype=dtype,
                revision=revision,
            )
        elif (bidirectional, device, dtype, revision) != (None, None, None, None):
            raise InputError("bidirectional, device, dtype and revision are for loading; this backbone is loaded")
        elif layer is not None and backbone.layer != layer:
            raise MismatchError(
                f"the backbone is cut at layer {backbone.layer}, not {layer}; load it with layer={layer}"
            )
        if not backbone.raw and not transform:
            raise MismatchError(
                f"{backbone.model_id} applies its final norm, which no SAE has seen; drop output='final'"
            )
        sae.check_belongs(backbone.base_model, backbone.layer, backbone.d_model, transform=transform)
        before = load_transform(backbone) if transform else None
        head = LinearHead.from_sae(sae, pooling, saturation, transform=before).to(backbone.device)
        return cls(backbone, head, settings, description={"sae": sae.config.source})

    @classmethod
    def from_vocabulary(
        cls,
        model: str | Path | Vocabulary,
        *,
        pooling: Pooling = "max",
        saturation: Saturation = "log1p",
        bidirectional: bool | None = None,
        settings: EncoderSettings | None = None,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        revision: str | None = None,
        token: str | None = None,
    ) -> Encoder:
        """SPLADE's head: the output embedding of a masked or causal language model, after its own transform or norm.

        The latents are the tokens of the vocabulary, and labelled with them.
        """
        if not isinstance(model, Vocabulary):
            model = load_vocabulary(
                model, bidirectional=bidirectional, dtype=dtype, device=device, revision=revision, token=token
            )
        head = LinearHead.from_vocabulary(
            model.transform, model.weight, model.bias, model.softcap, pooling=pooling, saturation=saturation
        )
        encoder = cls(model.backbone, head, settings)
        encoder.labels = {i: token for token, i in encoder._rust_tokenizer.get_vocab().items()}
        return encoder

    # ---- what it is -------------------------------------------------------------------------------------------------

    @property
    def n_latents(self) -> int:
        """Number of latents: columns of every vector."""
        return self.head.n_latents

    @property
    def device(self) -> torch.device:
        """Where the encoder computes."""
        return self.head.weight.device

    @property
    def settings(self) -> EncoderSettings:
        """Prompts, lengths, masks and Top-K defaults; to change them, assign a `dataclasses.replace`d copy."""
        return self._settings

    @settings.setter
    def settings(self, settings: EncoderSettings) -> None:
        self._settings = settings
        self.tokenizer = TextTokenizer(self._rust_tokenizer, settings, self.backbone.max_length)

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

        top_k: latents kept per row: a number, None for all, or "default" for the settings' `query_top_k`.
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
        """Vectors of one side; `encode_query` and `encode_document` are this with the side named."""
        texts = [texts] if isinstance(texts, str) else list(texts)
        check_texts(texts)
        rows = list(self.encode_stream(texts, side=side, top_k=top_k, progress=progress, processes=processes))
        return SparseRows.concatenate(rows) if rows else SparseRows.empty(self.n_latents)

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

        Batches are made inside a chunk, so a small one pads more. Arguments as in `encode_query`.
        """
        k = self.settings.top_k(side, top_k)
        if chunk_size < 1:
            raise InputError(f"chunk_size is at least 1, not {chunk_size}")
        devices = worker_devices(processes, str(self.device))
        total = len(texts) if isinstance(texts, Sequence) else None
        bar = tqdm(total=total, unit="text", desc=f"encode {side}", disable=not progress)

        def chunks() -> Iterator[list[str]]:
            seen = 0
            for chunk in windows(texts, chunk_size):
                check_texts(chunk, seen)
                seen += len(chunk)
                yield chunk

        with bar, ExitStack() as stack:
            if devices:
                folder = stack.enter_context(self._as_folder())
                encoded = stack.enter_context(
                    closing(encode_windows(folder, self.backbone.dtype, devices, chunks(), side, k))
                )
                for rows in encoded:
                    bar.update(len(rows))
                    yield rows
            else:
                for chunk in chunks():
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

    # ---- identity and files -----------------------------------------------------------------------------------------

    @property
    def fingerprint(self) -> str:
        """sha256, in hex, over all that changes a vector: settings (Top-K aside), head, weighting, backbone.

        Equal before saving and after loading. An index keeps it and refuses queries from another encoder.
        """
        return fingerprint(self)

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
            api.create_repo(repo, private=private, exist_ok=True)
            return str(api.upload_folder(repo_id=repo, folder_path=folder, commit_message="saelex encoder"))

    @contextmanager
    def _as_folder(self) -> Iterator[Path]:
        """A folder that holds this very encoder, for worker processes to load."""
        with TemporaryDirectory(prefix="saelex-encoder-") as scratch:
            folder = Path(scratch) / "model"
            self.save_pretrained(folder)
            yield folder
