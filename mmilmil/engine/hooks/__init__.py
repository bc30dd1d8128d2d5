from .final_model import FinalModelHook
from .metrics_file import MetricsFileHook
from .one_run import OneRunHook
from .plain_checkpoint import PlainCheckpointHook
from .precision import PrecisionHook
from .random_state import RandomStateHook
from .same_run import SameRunHook
from .stage_check import StageCheckHook
from .structure import StructureHook
from .whole_checkpoint import WholeCheckpointHook

__all__ = [
    'FinalModelHook', 'MetricsFileHook', 'OneRunHook', 'PlainCheckpointHook', 'PrecisionHook', 'RandomStateHook',
    'SameRunHook', 'StageCheckHook', 'StructureHook', 'WholeCheckpointHook'
]
