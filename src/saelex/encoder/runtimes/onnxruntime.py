"""BERT in ONNX Runtime: for documents, on any CPU."""

from __future__ import annotations

from typing import Any

import onnxruntime

from saelex.encoder.backbone.bert_settings import BertSettings
from saelex.encoder.backbone.stored import BertWeights
from saelex.encoder.runtimes.onnx_graph import INPUTS, OUTPUT, bert_model
from saelex.encoder.runtimes.padded import Array, PaddedBert, threads
from saelex.encoder.runtimes.runtime import Arithmetic


class OnnxRuntimeBert(PaddedBert):
    """See `TokenStates`."""

    def __init__(self, weights: BertWeights, shape: BertSettings, arithmetic: Arithmetic) -> None:
        super().__init__(weights, shape, arithmetic)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads()
        options.log_severity_level = 3
        # the head's products come from other threads, which those that spin would keep from the cores
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        model = bert_model(weights, shape, int8=arithmetic.precision == "int8")
        self._session: Any = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def _run(self, batch: Array, mask: Array) -> Array:
        states: Array = self._session.run([OUTPUT], dict(zip(INPUTS, (batch, mask))))[0]
        return states
