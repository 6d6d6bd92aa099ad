"""The inner loops compiled by numba, and the same once more in plain numpy."""
