"""Settings that hold for every test: no network, quiet libraries, few threads."""

from __future__ import annotations

import os

# two tiny matrix products a test: threads that wait for each other cost far more than they save
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", os.environ["OMP_NUM_THREADS"])  # numba's OpenMP pool would raise torch's
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
