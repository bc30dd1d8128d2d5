from .hooks import FinalModelHook, MetricsFileHook, PlainCheckpointHook, StageCheckHook
from .optim_wrapper import CpuAmpOptimWrapper

__all__ = ['CpuAmpOptimWrapper', 'FinalModelHook', 'MetricsFileHook', 'PlainCheckpointHook', 'StageCheckHook']
