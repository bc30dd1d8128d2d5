from .hooks import FinalModelHook, MetricsFileHook, PlainCheckpointHook, StageCheckHook
from .stock_config import stock_config

__all__ = ['FinalModelHook', 'MetricsFileHook', 'PlainCheckpointHook', 'StageCheckHook', 'stock_config']
