"""What keeps vectors sparse: a regulariser a file.

A further one is a further file here, and nothing else; `regulariser` says what it has to have.
"""

from __future__ import annotations

from saelex.training.retrieval.regularisers.regulariser import Regulariser
from saelex.training.retrieval.term import terms_in

REGULARISERS = terms_in(__name__, __path__, Regulariser)
