"""The head: a linear map from hidden states to latents, its gate, and how the tokens of a text become one vector.

An SAE's encoder and a language model's output embedding are the same operation here, so the papers' controlled
comparison (SPLARE against SPLADE) is an exchange of heads.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor, nn

from saelex.errors import InputError
from saelex.sae.activations import Activation, JumpReLU, ReLU, TopK

if TYPE_CHECKING:
    from saelex.sae.autoencoder import SparseAutoencoder

Pooling = Literal["max", "sum"]
Saturation = Literal["log1p", "log1p_log1p", "sqrt", "none"]

_LATENTS_AT_A_TIME = 8192


class LinearHead(nn.Module):
    """u[b, j] = alpha * sat(max over tokens t of gate_j(scale_j * (T(h[t]) . weight[j] + bias[j]))).

    The parameters of SPLARE's eq. 1 and 2 (SAE head) and of SPLADE (vocabulary head); `saelex.encoder.pooling.pool`
    computes it. With `pooling="sum"` the tokens' saturated latents are added instead (first SPLADE, Latent Terms).

    weight: [n_latents, d_model], any floating dtype.
    bias: float32 [n_latents]; scale: float32 [n_latents] or None (ones), positive: only then may the maximum over
        tokens be taken before the scale. Both, and `alpha`, stay float32 when the module is cast to half precision.
    activation: the gate; ReLU, JumpReLU or TopK (per token, over all latents).
    transform: T, applied to the hidden states [tokens, d_model] first: an MLM transform, an SAE's norm, or both.
    softcap: c of c * tanh(logit / c), the soft-cap of Gemma 2's logits; None: none.
    alpha: SAE-SPLADE's scalar, a parameter that is not trained unless `head.alpha.requires_grad_()` says so.

    Raises InputError for parts that do not fit together.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        activation: Activation,
        *,
        scale: Tensor | None = None,
        transform: nn.Module | None = None,
        softcap: float | None = None,
        alpha: float = 1.0,
        pooling: Pooling = "max",
        saturation: Saturation = "log1p",
    ) -> None:
        super().__init__()
        _check(weight, bias, activation, scale, softcap)
        if pooling not in get_args(Pooling):
            raise InputError(f"pooling is one of {', '.join(get_args(Pooling))}, not {pooling!r}")
        if saturation not in get_args(Saturation):
            raise InputError(f"saturation is one of {', '.join(get_args(Saturation))}, not {saturation!r}")
        self.weight = weight if isinstance(weight, nn.Parameter) else nn.Parameter(weight)
        self.bias = nn.Parameter(_at_least_float32(bias))
        self.scale = None if scale is None else nn.Parameter(_at_least_float32(scale), requires_grad=False)
        self.alpha = nn.Parameter(torch.tensor(float(alpha)), requires_grad=False)
        self.activation = activation
        self.transform = nn.Identity() if transform is None else transform
        self.softcap = softcap
        self.pooling: Pooling = pooling
        self.saturation: Saturation = saturation

    @classmethod
    def from_sae(
        cls,
        sae: SparseAutoencoder,
        pooling: Pooling = "max",
        saturation: Saturation = "log1p",
        *,
        transform: nn.Module | None = None,
    ) -> LinearHead:
        """The encoder of an SAE; its decoder is not used (SPLARE section 3.1).

        pre = a (N(x) - b_dec) W_enc + b_enc = a (N(x) W_enc + b_enc / a - b_dec W_enc): the SAE's encoder scale a
        becomes `scale`, its norm N the transform, and b_dec, where the SAE subtracts it, goes into the bias. The
        weight keeps the SAE's dtype, and its memory where the file has a row for each latent. `transform` is what the
        SAE's states went through before it read them, N coming after it.
        """
        weight = sae.W_enc.detach().t().contiguous()
        scale = None if sae.encoder_scale is None else sae.encoder_scale.detach()
        bias = sae.b_enc.detach() if scale is None else sae.b_enc.detach() / scale
        if sae.apply_b_dec_to_input:
            b_dec = sae.b_dec.detach().double()
            bias = bias - torch.cat([(rows.double() @ b_dec).float() for rows in weight.split(_LATENTS_AT_A_TIME)])
        parts = [part for part in (transform, sae.input_norm) if part is not None]
        return cls(
            weight,
            bias,
            sae.activation,
            scale=scale,
            transform=nn.Sequential(*parts) if len(parts) > 1 else next(iter(parts), None),
            pooling=pooling,
            saturation=saturation,
        )

    @classmethod
    def from_vocabulary(
        cls,
        transform: nn.Module,
        weight: Tensor,
        bias: Tensor | None = None,
        softcap: float | None = None,
        pooling: Pooling = "max",
        saturation: Saturation = "log1p",
    ) -> LinearHead:
        """SPLADE's head: an output embedding [vocabulary, d_model] after the model's MLM transform or final norm.

        `weight` given as a parameter stays that parameter, so that tied embeddings stay tied.
        """
        if bias is None:
            bias = torch.zeros(len(weight), device=weight.device)
        return cls(weight, bias, ReLU(), transform=transform, softcap=softcap, pooling=pooling, saturation=saturation)

    @property
    def n_latents(self) -> int:
        return self.weight.shape[0]

    @property
    def d_model(self) -> int:
        return self.weight.shape[1]

    def cap(self, pre: Tensor) -> Tensor:
        """The logit soft-cap, where there is one; any shape."""
        return pre if self.softcap is None else self.softcap * torch.tanh(pre / self.softcap)

    def saturate(self, latents: Tensor) -> Tensor:
        """sat(latents), of non-negative latents of any shape."""
        if self.saturation == "log1p":
            return torch.log1p(latents)
        if self.saturation == "log1p_log1p":  # OpenSearch's third generation (arXiv 2504.14839)
            return torch.log1p(torch.log1p(latents))
        return torch.sqrt(latents) if self.saturation == "sqrt" else latents

    def gate(self, start: int, stop: int) -> Activation:
        """The gate of the latents start:stop alone. TopK, which needs all latents of a token, has none."""
        if isinstance(self.activation, TopK):
            raise InputError("a TopK gate cannot be split over latents")
        if isinstance(self.activation, JumpReLU) and len(self.activation.threshold) > 1:
            return JumpReLU(self.activation.threshold[start:stop])
        return self.activation

    @torch.no_grad()
    def neighbours(self, latent: int, n: int) -> list[tuple[int, float]]:
        """The n latents whose rows of the weight are nearest to this one's, with their cosines, nearest first.

        Raises InputError where there is no latent of that number.
        """
        if not 0 <= latent < self.n_latents:
            raise InputError(f"no latent {latent}; they run from 0 to {self.n_latents - 1}")
        own = nn.functional.normalize(self.weight[latent].float(), dim=0)
        # some rows at a time: half-precision rows are not to be widened all at once
        parts = (nn.functional.normalize(rows.float(), dim=1) @ own for rows in self.weight.split(_LATENTS_AT_A_TIME))
        cosines = torch.cat(list(parts)).cpu()  # [n_latents]
        cosines[latent] = -math.inf
        best = torch.sort(cosines, descending=True, stable=True).indices[: min(n, self.n_latents - 1)]
        return [(int(i), float(cosines[i])) for i in best]

    def extra_repr(self) -> str:
        cap = "" if self.softcap is None else f", softcap={self.softcap}"
        return f"{self.d_model} -> {self.n_latents}, {self.weight.dtype}, {self.pooling}, {self.saturation}{cap}"

    def _apply(self, fn: Any, recurse: bool = True) -> LinearHead:
        precise = {name: parameter for name, parameter in self.named_parameters(recurse=False) if name != "weight"}
        before = {name: parameter.detach().clone() for name, parameter in precise.items()}
        super()._apply(fn, recurse)
        for name, parameter in self.named_parameters(recurse=False):
            if name in before and parameter.dtype in (torch.bfloat16, torch.float16):
                parameter.data = before[name].to(parameter.device)
        return self


def _at_least_float32(values: Tensor) -> Tensor:
    return values.detach().to(torch.promote_types(values.dtype, torch.float32)).clone()


def _check(weight: Tensor, bias: Tensor, activation: Activation, scale: Tensor | None, softcap: float | None) -> None:
    if weight.ndim != 2 or not weight.is_floating_point():
        raise InputError(
            f"a head's weight is a floating-point [n_latents, d_model], not {weight.dtype} {list(weight.shape)}"
        )
    n_latents = len(weight)
    if bias.shape != (n_latents,):
        raise InputError(f"a head with {n_latents} latents needs a bias of that length, not {list(bias.shape)}")
    if scale is not None and (scale.shape != (n_latents,) or not bool((scale > 0).all())):
        raise InputError(f"a head's scale has one positive number for each of its {n_latents} latents")
    if isinstance(activation, JumpReLU) and len(activation.threshold) not in (1, n_latents):
        raise InputError(
            f"{len(activation.threshold)} thresholds do not fit {n_latents} latents; give one for each, or one"
        )
    if isinstance(activation, TopK) and activation.k > n_latents:
        raise InputError(f"TopK keeps {activation.k} latents per token, but the head has {n_latents}")
    if softcap is not None and not (isinstance(activation, ReLU) and softcap > 0 and math.isfinite(softcap)):
        raise InputError("a soft-cap is a positive number and belongs to a vocabulary head, whose gate is ReLU")
