"""Training an SAE on token states: `train_sae` runs it, `SaeTraining` holds its settings, `SaeTrainer` its state."""

from saelex.sae.training.run import train_sae
from saelex.sae.training.settings import SaeTraining
from saelex.sae.training.trainer import SaeTrainer

__all__ = ["SaeTrainer", "SaeTraining", "train_sae"]
