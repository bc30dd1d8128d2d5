from . import forgetting
from .average_precision import class_results
from .forgetting import ap_matrix, chain_figures
from .incremental_voc_metric import IncrementalVOCMetric, group_means
from .tables import mean_figures, results_table

__all__ = [
    'IncrementalVOCMetric', 'ap_matrix', 'chain_figures', 'class_results', 'forgetting', 'group_means', 'mean_figures',
    'results_table'
]
