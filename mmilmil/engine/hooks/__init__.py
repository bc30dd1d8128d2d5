from .atomic_checkpoint import AtomicCheckpointHook
from .final_model import FinalModelHook
from .live_view import LiveViewHook
from .memory import MemoryHook
from .metrics_file import MetricsFileHook
from .model_card import ModelCardHook
from .null_space import NullSpaceHook
from .plain_checkpoint import PlainCheckpointHook
from .precision import PrecisionHook
from .progress import ProgressHook
from .prototype_calibration import PrototypeCalibrationHook
from .random_state import RandomStateHook
from .resume_check import ResumeCheckHook
from .run_cost import RunCostHook
from .stage_check import StageCheckHook
from .structure import StructureHook
from .work_dir_lock import WorkDirLockHook

__all__ = [
    'AtomicCheckpointHook', 'FinalModelHook', 'LiveViewHook', 'MemoryHook', 'MetricsFileHook', 'ModelCardHook',
    'NullSpaceHook', 'PlainCheckpointHook', 'PrecisionHook', 'ProgressHook', 'PrototypeCalibrationHook', 'RandomStateHook',
    'ResumeCheckHook', 'RunCostHook', 'StageCheckHook', 'StructureHook', 'WorkDirLockHook'
]
