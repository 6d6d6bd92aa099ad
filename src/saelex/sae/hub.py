"""An SAE as a folder to share, and on its way to the Hugging Face hub."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch

from saelex.errors import InputError
from saelex.files import expanded, replacing_folder
from saelex.hub import unreachable
from saelex.sae.formats.saelens import save_saelens
from saelex.sae.model_card import model_card
from saelex.sae.parts import SaeParts

CARD = "README.md"
_FILES = {"cfg.json", "sae_weights.safetensors", CARD}


def export_sae(
    sae: SaeParts,
    folder: str | Path,
    *,
    card: str | None = None,
    name: str | None = None,
    metrics: Mapping[str, float] | None = None,
    licence: str | None = None,
) -> None:
    """Write an SAE of any format in SAELens' layout with a model card; the whole folder or nothing, in place of an
    older export.

    card: text of the card, in place of one written from `metrics` and `licence`. name: what that one's examples load;
        the folder if none is given.

    Raises InputError where the folder holds something else, the decoder was not loaded, or a weight is not finite, as
    after a cast to float16.
    """
    folder = expanded(folder)
    check_export(folder)
    for which, weights in (("encoder", sae.W_enc), ("decoder", sae.W_dec)):
        if weights is not None and not bool(torch.isfinite(weights).all()):
            raise InputError(f"the {which}'s weights are not all finite as {weights.dtype}; choose another dtype")
    with replacing_folder(folder) as made:
        save_saelens(sae, made)
        written = card or model_card(sae, name or str(folder), metrics=metrics, licence=licence)
        (made / CARD).write_text(written, encoding="utf-8", newline="\n")
        check_export(folder)  # again: writing may have taken minutes


def check_export(folder: Path) -> None:
    """Raises InputError where an SAE cannot be exported to; worth asking before a download."""
    held = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if (folder.exists() and not folder.is_dir()) or held - _FILES:
        raise InputError(f"{folder} exists and is no exported SAE; choose another folder")


def push_sae(
    sae: SaeParts,
    repo: str,
    *,
    private: bool = False,
    token: str | None = None,
    card: str | None = None,
    metrics: Mapping[str, float] | None = None,
    licence: str | None = None,
) -> str:
    """Upload what `export_sae` writes to a repository of the Hugging Face hub, made if it is not there yet; returns the
    commit's address.

    token: None takes the one that `hf auth login` or HF_TOKEN left. Raises InputError where the hub refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OfflineModeIsEnabled

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "sae"
        export_sae(sae, folder, card=card, name=repo, metrics=metrics, licence=licence)
        api, why = HfApi(token=token), unreachable()
        try:
            api.create_repo(repo, private=private, exist_ok=True)
            return str(api.upload_folder(repo_id=repo, folder_path=folder, commit_message="saelex sparse autoencoder"))
        except (HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OfflineModeIsEnabled) as error:
            reason = f"it cannot be reached: {why}" if why else str(error).strip().splitlines()[0]
            raise InputError(
                f"{repo}: the hub refuses the upload ({reason}); check the id, and log in with `hf auth login`"
            ) from error
