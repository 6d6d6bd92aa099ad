"""EncoderParts: what an encoder is made of, and how it is put together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar, cast

from saelex.encoder.identity import BackboneIdentity, HeadIdentity, tokenizer_digest, weighting_digest
from saelex.encoder.settings import EncoderSettings
from saelex.encoder.tokens import TextTokenizer, rust_tokenizer
from saelex.errors import InputError, MismatchError
from saelex.installation import naming_extras
from saelex.loading import Loading, LoadingOptions
from saelex.top_k import shown

if TYPE_CHECKING:
    import torch
    from typing_extensions import Self, Unpack

    from saelex.encoder.backbone.backbone import Backbone
    from saelex.encoder.backbone.stored import StoredBackbone
    from saelex.encoder.backbone.vocabulary import Vocabulary
    from saelex.encoder.head import LinearHead, Pooling, Saturation
    from saelex.encoder.runtimes.head import ArrayHead
    from saelex.encoder.runtimes.runtime import Runtime
    from saelex.encoder.runtimes.stored_model import StoredModel
    from saelex.encoder.token_weights import TokenWeights
    from saelex.encoder.weighting import LatentWeighting
    from saelex.sae.autoencoder import SparseAutoencoder

Kind = TypeVar("Kind", bound="EncoderParts")
"""The class that a reader of files makes of the parts: `Encoder`, which lies above all that reads and computes."""

BATCH_TOKENS = 4096
"""Tokens of one forward pass, padding counted, unless `Encoder.batch_tokens` says otherwise."""


class EncoderParts:
    """A backbone, a head over its hidden states, and what turns text into the one and maxima into vectors.

    backbone: hidden states of every token.
    head: latents of every token, and their pooling over a text.
    settings: prompts, lengths, masked tokens and Top-K defaults.
    weighting: frozen corpus statistics over the latents, applied after pooling and before Top-K.
    token_weights: the query side of a doc-only model, which then needs no backbone for queries.
    labels: what is known of latents, by latent; `decode` uses it.
    description: what the model card tells: SAE, its latents' place on Neuronpedia, training data, licence.
    backbone_identity, head_digest: for the fingerprint, where a model folder's reader has computed and compared them.
    extra_files: content of more files of the model folder, by relative name: what made the model, in `training/`.
    stored: the same backbone and head as files and arrays, for runtimes without torch; its `backbone` and `head` are
        given then. torch's are loaded when `backbone` or `head` is first asked for, and compute from then on.

    Raises MismatchError when head and backbone differ in width.
    """

    def __init__(
        self,
        backbone: Backbone | StoredBackbone,
        head: LinearHead | ArrayHead,
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
        stored: StoredModel | None = None,
    ) -> None:
        if head.d_model != backbone.d_model:
            raise MismatchError(
                f"the head reads {head.d_model} dimensions but {backbone.model_id} gives {backbone.d_model}; "
                "use the backbone that the head was made for"
            )
        self._backbone = backbone
        self._head = head
        self._stored = stored
        self._loading_modules = Lock()
        self.weighting = weighting
        self._token_weights = token_weights
        self.labels = dict(labels or {})
        self.description = dict(description or {})
        self.extra_files = dict(extra_files or {})
        self.name = name or backbone.model_id
        self.batch_tokens = BATCH_TOKENS
        self._rust_tokenizer = rust_tokenizer(backbone)
        self.settings = settings or EncoderSettings()
        if stored is None:
            self._take_modules(cast("Backbone", backbone), cast("LinearHead", head), backbone_identity, head_digest)
        else:
            self.backbone_identity = BackboneIdentity(cast("StoredBackbone", backbone), stored.facts)

    # ---- making one -------------------------------------------------------------------------------------------------

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
        **options: Unpack[LoadingOptions],
    ) -> Self:
        """SPLARE's starting point: a backbone cut at the layer that the SAE reads, and the SAE's encoder as the head.

        layer: 0-based block whose output the SAE reads; the SAE's own config where it says. bidirectional: attention of
        a decoder; None takes the backbone's default. transform: the model's masked-LM transform comes before the SAE;
        None asks the SAE whether it was trained on that (SAE-SPLADE's "h"). options: device (the CPU unless told
        otherwise), dtype and revision of the backbone, and the hub's token, as in `saelex.loading.Loading`. Raises
        MismatchError when SAE, backbone, layer and transform do not belong together, InputError for a transform of a
        model that has none.
        """
        with naming_extras():
            from saelex.encoder.backbone.backbone import Backbone
            from saelex.encoder.backbone.vocabulary import load_transform
            from saelex.encoder.head import LinearHead
            from saelex.sae.autoencoder import SparseAutoencoder

        if not isinstance(sae, SparseAutoencoder):
            sae = SparseAutoencoder.load(sae, path_in_repo, decoder=False, token=options.get("token"))
        elif path_in_repo is not None:
            raise InputError("path_in_repo is for loading; this SAE is loaded")
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
                **options,
            )
        elif bidirectional is not None or replace(Loading(**options), token=None) != Loading():  # the SAE takes a token
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
        published = {"neuronpedia": sae.config.neuronpedia} if sae.config.neuronpedia else {}
        return cls(backbone, head, settings, description={"sae": sae.config.source, **published})

    @classmethod
    def from_vocabulary(
        cls,
        model: str | Path | Vocabulary,
        *,
        pooling: Pooling = "max",
        saturation: Saturation = "log1p",
        bidirectional: bool | None = None,
        settings: EncoderSettings | None = None,
        **options: Unpack[LoadingOptions],
    ) -> Self:
        """SPLADE's head: the output embedding of a masked or causal language model, after its own transform or norm.

        The latents are the tokens of the vocabulary, and labelled with them. options: as in `from_sae`.
        """
        with naming_extras():
            from saelex.encoder.backbone.vocabulary import Vocabulary, load_vocabulary
            from saelex.encoder.head import LinearHead

        if not isinstance(model, Vocabulary):
            model = load_vocabulary(model, bidirectional=bidirectional, **options)
        elif bidirectional is not None or Loading(**options) != Loading():
            raise InputError("bidirectional, device, dtype, revision and token are for loading; this model is loaded")
        backbone, transform, weight, bias, softcap = model
        head = LinearHead.from_vocabulary(transform, weight, bias, softcap, pooling, saturation)
        encoder = cls(backbone, head, settings)
        encoder.labels = {i: token for token, i in encoder._rust_tokenizer.get_vocab().items()}
        return encoder

    # ---- what it is -------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        top_k = " / ".join(map(shown, (self.settings.query_top_k, self.settings.document_top_k)))
        if self._stored is not None:
            how = self._stored.arithmetic
            return f"{type(self).__name__}({self.name}: {self.n_latents} latents, keeps {top_k}; {how})"
        head = self.head
        gate = f"{head.activation}, {head.pooling}, {head.saturation}"
        return f"{type(self).__name__}({self.name}: {head.n_latents} latents, {gate}, keeps {top_k}; {self.backbone})"

    @property
    def n_latents(self) -> int:
        """Number of latents: columns of every vector."""
        return self._head.n_latents

    # ---- backbone and head ------------------------------------------------------------------------------------------

    @property
    def backbone(self) -> Backbone:
        """torch's module. An encoder that was loaded without torch loads it now, and computes with it from then on."""
        self._load_modules()
        return cast("Backbone", self._backbone)

    @backbone.setter
    def backbone(self, backbone: Backbone) -> None:
        self._load_modules()
        self._backbone = backbone.eval()

    @property
    def head(self) -> LinearHead:
        """torch's module, as `backbone` is."""
        self._load_modules()
        return cast("LinearHead", self._head)

    @head.setter
    def head(self, head: LinearHead) -> None:
        self._load_modules()
        self._head = head.eval()

    def runtime(self) -> Runtime:
        """What computes the vectors."""
        if (stored := self._stored) is not None:
            return stored.runtime()
        from saelex.encoder.runtimes.torch import TorchRuntime

        return TorchRuntime(self.backbone, self.head)

    def _load_modules(self) -> None:
        if self._stored is None:
            return
        with self._loading_modules:
            if (stored := self._stored) is not None:  # another thread may have been quicker
                with naming_extras():
                    modules = stored.modules()
                self._take_modules(*modules, stored.facts, stored.head_digest)
                self._stored = None  # last: until then others compute on arrays

    def _take_modules(
        self, backbone: Backbone, head: LinearHead, facts: Mapping[str, Any] | None, head_digest: str | None
    ) -> None:
        self._backbone, self._head = backbone.eval(), head.eval()
        self.backbone_identity = BackboneIdentity(backbone, facts)
        self.head_identity = HeadIdentity(head, head_digest)

    @property
    def device(self) -> torch.device:
        """Where the encoder computes. Imports torch."""
        import torch

        return torch.device(self.place)

    @property
    def place(self) -> str:
        """The name of the device, as torch has it."""
        return "cpu" if self._stored is not None else str(self.head.weight.device)

    @property
    def settings(self) -> EncoderSettings:
        """Prompts, lengths, masks and Top-K defaults; to change them, assign a `dataclasses.replace`d copy."""
        return self._settings

    @settings.setter
    def settings(self, settings: EncoderSettings) -> None:
        self._settings = settings
        self.tokenizer = TextTokenizer(
            self._rust_tokenizer,
            settings,
            self._backbone.max_length,
            n_words=self._backbone.n_words,
            bare_queries=self._token_weights is not None,
        )

    @property
    def token_weights(self) -> TokenWeights | None:
        """The query side of a doc-only model, or None; queries are then tokenised without special tokens."""
        return self._token_weights

    @token_weights.setter
    def token_weights(self, token_weights: TokenWeights | None) -> None:
        self._token_weights = token_weights
        self.settings = self._settings

    @cached_property
    def tokenizer_digest(self) -> str:
        """sha256 over the tokenizer: its part of the fingerprint."""
        return tokenizer_digest(self.tokenizer, self._backbone.checkpoint.folder / "config.json")

    @property
    def fingerprint(self) -> str:
        """sha256, in hex, over all that changes a vector: settings (Top-K aside), tokenizer, backbone, head, weighting.

        Equal before saving and after loading. An index keeps it and refuses queries from another encoder. Computed from
        what the encoder is, never taken from what a model folder says of itself.
        """
        if (stored := self._stored) is not None:
            return self.fingerprint_with(stored.head_digest)
        return self.fingerprint_with(self.head_identity.digest(self.head))

    def fingerprint_with(self, head_digest: str) -> str:
        """The fingerprint that the encoder has with a head of this digest, such as one that is rounded to be saved."""
        identity = {
            "settings": self.settings.identity(),
            "tokenizer": self.tokenizer_digest,
            "backbone": self.backbone_identity.facts(),
            "head": head_digest,
            "weighting": None if self.weighting is None else weighting_digest(self.weighting),
            "token_weights": None if self.token_weights is None else self.token_weights.digest(),
        }
        return sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
