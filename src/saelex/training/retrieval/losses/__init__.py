"""What ranks a query's passages as a teacher or a label says, and what else is learnt: a loss a file.

A further loss is a further file here, and nothing else; `loss` says what it has to have.
"""

from __future__ import annotations

from saelex.training.retrieval.losses.loss import Loss
from saelex.training.retrieval.term import terms_in

LOSSES = terms_in(__name__, __path__, Loss)
