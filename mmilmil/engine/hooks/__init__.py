from .final_model import FinalModelHook
from .metrics_file import MetricsFileHook
from .plain_checkpoint import PlainCheckpointHook
from .stage_check import StageCheckHook
from .structure import StructureHook

__all__ = ['FinalModelHook', 'MetricsFileHook', 'PlainCheckpointHook', 'StageCheckHook', 'StructureHook']
