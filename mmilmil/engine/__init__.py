from .. import compat  # noqa: F401  isort: skip  (tells what of the stack is missing, before it is imported)
from .fused_test import FusedTestLoop
from .hooks import FinalModelHook, MetricsFileHook, PlainCheckpointHook, StageCheckHook
from .optim_wrapper import CpuAmpOptimWrapper

__all__ = ['CpuAmpOptimWrapper', 'FinalModelHook', 'FusedTestLoop', 'MetricsFileHook', 'PlainCheckpointHook', 'StageCheckHook']
