"""Eight texts whose vectors a model folder keeps, so that every runtime can be held to what was saved.

Their vectors are the documents' before weighting and Top-K, in float32.
"""

from __future__ import annotations

import json
import logging
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from saelex.encoder.runtimes.runtime import TOLERANCES, Runtime
from saelex.encoder.tokens import TextTokenizer
from saelex.errors import InputError, MismatchError
from saelex.files import fact_of
from saelex.reading.json_object import JsonObject, parse_json
from saelex.reading.tensors import SafetensorsFile
from saelex.vectors import SparseRows

FILE_NAME = "probes.safetensors"
FORMAT = "saelex-probes/1"
PROBES = (
    "lift",
    "How do the wings of an aircraft create lift?",
    "A bank lends money for a house; interest rates follow inflation, and who pays late pays more.",
    "def read(path):\n    with open(path, encoding='utf-8') as file:\n        return json.load(file)['items'][0]",
    "In 1969 some 650 million people watched the first steps on the Moon, 384,400 km away.",
    "Die Kinder spielten am Flußufer, während es auf der Straße nach Köln über 30 °C heiß war. Où est la gare ?",
    "机器学习是人工智能的一个分支。 Москва — столица России. القاهرة عاصمة مصر",
    "The patient, a woman of 54, came with fever, a dry cough and pain in the chest that had lasted for three days. "
    "X-rays showed a shadow over the left lung; blood cultures were negative. She was given antibiotics for ten days "
    "and recovered slowly, although a second examination after four weeks still found scars in the lower lobe. Nothing "
    "of this had been seen in the pictures that were taken a year before, when she had broken a rib in a fall.",
)

logger = logging.getLogger(__name__)


def probe_rows(
    texts: tuple[str, ...], runtime: Runtime, tokenizer: TextTokenizer, sink_norm: float | None
) -> SparseRows:
    """The texts' vectors as a runtime computes them."""
    # one by one, as queries are computed: few enough tokens for plain loops
    tokenized = tokenizer.tokenize(texts, "document")
    return SparseRows.concatenate([runtime.rows([text], sink_norm) for text in tokenized])


def write_probes(folder: Path, runtime: Runtime, tokenizer: TextTokenizer, sink_norm: float | None) -> bool:
    """Write the vectors into a model folder. Nothing, which is said, for a model whose states are not finite."""
    try:
        rows = probe_rows(PROBES, runtime, tokenizer, sink_norm)
    except InputError as error:
        logger.warning("%s: no vectors of probe texts are kept (%s)", folder.name, error)
        return False
    arrays: dict[str, NDArray[Any]] = {"indptr": rows.indptr, "latents": rows.latents, "weights": rows.weights}
    metadata = {"format": FORMAT, "texts": json.dumps(PROBES, ensure_ascii=False), "n_latents": str(rows.n_latents)}
    save_file(arrays, folder / FILE_NAME, metadata=metadata)
    return True


def read_probes(path: Path) -> tuple[tuple[str, ...], SparseRows]:
    """What `write_probes` wrote. Raises InputError for another or a damaged file."""
    file = SafetensorsFile(path)
    if (written := file.metadata.get("format")) != FORMAT:
        raise InputError(f"{path}: not the probes of a model ({written!r:.60}, this version reads {FORMAT})")
    held = JsonObject({"texts": parse_json(file.metadata.get("texts", ""), path)}, path)
    n_latents = file.metadata.get("n_latents", "")
    if not n_latents.isdecimal() or len(n_latents) > 10:
        raise InputError(f"{path}: damaged, it does not say how many latents there are; fetch the model again")
    indptr, latents, weights = (file.array(name) for name in ("indptr", "latents", "weights"))
    rows = SparseRows.build(indptr, latents, weights, int(n_latents))
    texts = tuple(held.texts("texts"))
    if len(texts) != len(rows):
        raise InputError(f"{path}: damaged, {len(texts)} texts and {len(rows)} vectors; fetch the model again")
    return texts, rows


def check_runtime(path: Path, runtime: Runtime, tokenizer: TextTokenizer, sink_norm: float | None, name: str) -> None:
    """Raises MismatchError where a runtime gives other vectors than its precision allows; see TOLERANCES.

    path: of the probes; without them, as in folders of older versions, nothing is known, which is logged. tokenizer,
    sink_norm: of the encoder as it was saved. name: of the model, for messages. What was compared once is remembered
    with the file, for this machine and version of the runtime.
    """
    arithmetic, least = runtime.arithmetic, TOLERANCES[runtime.arithmetic.precision]
    if not path.is_file():
        level = logging.INFO if arithmetic.precision == "float32" else logging.WARNING
        logger.log(level, "%s keeps no vectors of probe texts: %s is not compared; save it again", name, arithmetic)
        return

    def compare() -> str:
        texts, kept = read_probes(path)
        return str(_lowest_cosine(kept, probe_rows(texts, runtime, tokenizer, sink_norm)))

    known = f"cosine by {arithmetic} ({_version(arithmetic.runtime)}) on {platform.node()}"
    if float(fact_of(path, known, compare)) < least and (cosine := float(compare())) < least:
        raise MismatchError(
            f"{name}: {arithmetic} does not give the vectors that it was saved with: the cosine of a probe text is "
            f"{cosine:.4f}, and at least {least} is meant; load it with another runtime or precision"
        )


def _lowest_cosine(kept: SparseRows, found: SparseRows) -> float:
    """Of all texts; texts without any latent in both count as 1."""
    if kept.n_latents != found.n_latents:
        raise MismatchError(f"the probes have {kept.n_latents} latents, this model {found.n_latents}; save it again")
    cosines = [1.0]
    for (latents, weights), (other_latents, other_weights) in zip(kept, found):
        _, here, there = np.intersect1d(latents, other_latents, assume_unique=True, return_indices=True)
        lengths = float(np.linalg.norm(weights.astype(float)) * np.linalg.norm(other_weights.astype(float)))
        product = float(weights[here].astype(float) @ other_weights[there].astype(float))
        cosines.append(product / lengths if lengths else float(not (len(latents) or len(other_latents))))
    return min(cosines)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "?"
