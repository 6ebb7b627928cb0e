"""Losses for networks of a known Lipschitz constant: of logits, labels one-hot as {0, 1} or {-1, 1}."""

from .auto import HingeMarginAuto, HKRauto, MulticlassHingeAuto, MulticlassHKRauto
from .base import LossState, ScheduledLoss, give_state, holds, scheduled_losses
from .certified import EMMA, CertifiedRadius, LogitAnnealing, OffsetCrossentropy
from .hinge import CategoricalHinge, HingeMargin, MulticlassHinge, MultiMargin
from .kantorovich import HKR, KR, MulticlassHKR, MulticlassKR, MulticlassSoftHKR
from .labels import process_labels_for_multi_gpu
from .temperature import TauBinaryCrossentropy, TauCategoricalCrossentropy, TauSparseCategoricalCrossentropy

__all__ = [
    "EMMA",
    "HKR",
    "KR",
    "CategoricalHinge",
    "CertifiedRadius",
    "HKRauto",
    "HingeMargin",
    "HingeMarginAuto",
    "LogitAnnealing",
    "LossState",
    "MultiMargin",
    "MulticlassHKR",
    "MulticlassHKRauto",
    "MulticlassHinge",
    "MulticlassHingeAuto",
    "MulticlassKR",
    "MulticlassSoftHKR",
    "OffsetCrossentropy",
    "ScheduledLoss",
    "TauBinaryCrossentropy",
    "TauCategoricalCrossentropy",
    "TauSparseCategoricalCrossentropy",
    "give_state",
    "holds",
    "process_labels_for_multi_gpu",
    "scheduled_losses",
]
