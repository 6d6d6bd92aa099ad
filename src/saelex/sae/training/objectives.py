"""Which objective trains which gate."""

from __future__ import annotations

from saelex.sae.training.dense import JumpReluObjective, ReluObjective
from saelex.sae.training.objective import Objective
from saelex.sae.training.settings import Gate
from saelex.sae.training.topk import BatchTopKObjective, HierarchicalTopKObjective, TopKObjective

OBJECTIVES: dict[Gate, type[Objective]] = {
    "topk": TopKObjective,
    "batch_topk": BatchTopKObjective,
    "hierarchical_topk": HierarchicalTopKObjective,
    "relu": ReluObjective,
    "jumprelu": JumpReluObjective,
}
