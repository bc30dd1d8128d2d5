from .incremental_voc_metric import IncrementalVOCMetric
from .tables import results_table

__all__ = ['IncrementalVOCMetric', 'results_table']
