"""The trainers that `sae_training.py` compares, each as a program of its own: `python -m sae_trainers.NAME TASK`."""
