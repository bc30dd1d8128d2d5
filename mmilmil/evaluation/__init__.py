from .. import compat  # noqa: F401  isort: skip  (tells what of the stack is missing, before it is imported)
from . import forgetting
from .average_precision import class_results
from .class_groups import group_means
from .detections_file import DetectionsFile
from .forgetting import ap_matrix, chain_figures
from .incremental_coco_metric import IncrementalCocoMetric
from .incremental_voc_metric import IncrementalVOCMetric
from .tables import chains_table, mean_figures, results_table

__all__ = [
    'DetectionsFile', 'IncrementalCocoMetric', 'IncrementalVOCMetric', 'ap_matrix', 'chain_figures', 'chains_table',
    'class_results', 'forgetting', 'group_means', 'mean_figures', 'results_table'
]
