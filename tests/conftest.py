"""Settings that hold for every test: no network, quiet libraries, few threads, the same drawn examples."""

from __future__ import annotations

import os

from hypothesis import settings

# two tiny matrix products a test: threads that wait for each other cost far more than they save
os.environ.setdefault("OMP_NUM_THREADS", "1")
# numba's OpenMP pool would raise torch's number
os.environ.setdefault("NUMBA_NUM_THREADS", os.environ["OMP_NUM_THREADS"].split(",")[0])
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
# Triton's kernels run here without a GPU; read where they are defined, and so before any import of them
os.environ.setdefault("TRITON_INTERPRET", "1")

# the same examples everywhere, in whatever time a busy machine takes; HYPOTHESIS_PROFILE=search looks for new ones
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("search", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
