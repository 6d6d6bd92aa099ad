"""BERT in OpenVINO: the quickest on Intel's CPUs, in bfloat16 where they have it."""

from __future__ import annotations

from typing import Any

import openvino

from saelex.encoder.backbone.bert_settings import BertSettings
from saelex.encoder.backbone.stored import BertWeights
from saelex.encoder.runtimes.onnx_graph import INPUTS, bert_model
from saelex.encoder.runtimes.padded import Array, PaddedBert, threads
from saelex.encoder.runtimes.runtime import Arithmetic

_HINTS = {"float32": "f32", "bfloat16": "bf16"}


class OpenVinoBert(PaddedBert):
    """See `TokenStates`."""

    def __init__(self, weights: BertWeights, shape: BertSettings, arithmetic: Arithmetic) -> None:
        super().__init__(weights, shape, arithmetic)
        core = openvino.Core()
        model = core.read_model(bert_model(weights, shape))
        settings = {
            "INFERENCE_PRECISION_HINT": _HINTS[arithmetic.precision],
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads(),
        }
        self._compiled: Any = core.compile_model(model, "CPU", settings)

    def _run(self, batch: Array, mask: Array) -> Array:
        # a request a call: threads may share the model
        results = self._compiled.create_infer_request().infer(dict(zip(INPUTS, (batch, mask))))
        states: Array = results[self._compiled.output(0)]
        return states
