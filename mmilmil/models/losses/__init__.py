from .feature import FeatureHingeLoss, FeatureMSELoss, FeatureNormMSELoss
from .roi import LogitMSELoss, RoIDeltaLoss, ScoreL1Loss, UnbiasedCrossEntropyLoss, UnbiasedKDLoss
from .rpn import (
    RPNDeltaLoss,
    RPNForegroundDeltaLoss,
    RPNObjectnessBCELoss,
    RPNObjectnessHingeLoss,
    RPNObjectnessMSELoss,
)

__all__ = [
    'FeatureHingeLoss', 'FeatureMSELoss', 'FeatureNormMSELoss', 'LogitMSELoss', 'RPNDeltaLoss', 'RPNForegroundDeltaLoss',
    'RPNObjectnessBCELoss', 'RPNObjectnessHingeLoss', 'RPNObjectnessMSELoss', 'RoIDeltaLoss', 'ScoreL1Loss',
    'UnbiasedCrossEntropyLoss', 'UnbiasedKDLoss'
]
