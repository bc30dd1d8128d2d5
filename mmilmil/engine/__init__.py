from .fused_test import FusedTestLoop
from .hooks import FinalModelHook, MetricsFileHook, PlainCheckpointHook, StageCheckHook
from .optim_wrapper import CpuAmpOptimWrapper

__all__ = ['CpuAmpOptimWrapper', 'FinalModelHook', 'FusedTestLoop', 'MetricsFileHook', 'PlainCheckpointHook', 'StageCheckHook']
