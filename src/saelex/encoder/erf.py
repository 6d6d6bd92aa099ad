"""The error function's coefficients in float32, for gelu.

erf(x) = x P(x²) / Q(x²) for |x| <= 4, where it is 1 but for 2e-8: the minimax approximation of Eigen and XLA, within
3e-7 of the exact one. Highest powers first.
"""

from __future__ import annotations

import numpy as np

NUMERATOR = tuple(map(np.float32, (
    -2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05, -7.34990630326855e-04,
    -2.95459980854025e-03, -1.60960333262415e-02,
)))  # fmt: skip
DENOMINATOR = tuple(map(np.float32, (
    -1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03, -1.42647390514189e-02,
)))  # fmt: skip
END = np.float32(4)
ROOT = np.float32(0.5**0.5)
