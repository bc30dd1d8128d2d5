from .dense import DenseDeltaKDLoss, DistributionKDLoss, ResponseBCELoss, ResponseMSELoss
from .feature import FeatureHingeLoss, FeatureMSELoss, FeatureNormMSELoss
from .roi import (
    LogitMSELoss,
    MatchedScoreL1Loss,
    MixedKDLoss,
    OldConditionalKDLoss,
    RoIDeltaLoss,
    ScoreL1Loss,
    UnbiasedCrossEntropyLoss,
    UnbiasedKDLoss,
)
from .roi_feature import AttentiveRoILoss
from .rpn import (
    RPNDeltaLoss,
    RPNForegroundDeltaLoss,
    RPNObjectnessBCELoss,
    RPNObjectnessHingeLoss,
    RPNObjectnessMSELoss,
)

__all__ = [
    'AttentiveRoILoss', 'DenseDeltaKDLoss', 'DistributionKDLoss', 'FeatureHingeLoss', 'FeatureMSELoss', 'FeatureNormMSELoss',
    'LogitMSELoss', 'MatchedScoreL1Loss', 'MixedKDLoss', 'OldConditionalKDLoss', 'RPNDeltaLoss', 'RPNForegroundDeltaLoss',
    'RPNObjectnessBCELoss', 'RPNObjectnessHingeLoss', 'RPNObjectnessMSELoss', 'ResponseBCELoss', 'ResponseMSELoss',
    'RoIDeltaLoss', 'ScoreL1Loss', 'UnbiasedCrossEntropyLoss', 'UnbiasedKDLoss'
]
