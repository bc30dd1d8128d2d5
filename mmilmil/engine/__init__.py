from .hooks import FinalModelHook, MetricsFileHook, PlainCheckpointHook, StageCheckHook
from .optim_wrapper import CpuAmpOptimWrapper
from .stock_config import stock_config

__all__ = [
    'CpuAmpOptimWrapper', 'FinalModelHook', 'MetricsFileHook', 'PlainCheckpointHook', 'StageCheckHook', 'stock_config'
]
