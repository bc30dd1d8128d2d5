"""From an incremental detector's config to the stock MMDetection one that its checkpoint fits."""

from mmengine.config import ConfigDict

# Settings that the student adds to a stock detector's; its checkpoint knows nothing of them.
INCREMENTAL_KEYS = ('teacher', 'distiller', 'merging', 'teacher_boxes', 'start')


def stock_model_cfg(model: dict) -> ConfigDict:
    """The stock detector inside ``model``.

    Args:
        model: A model config, of ``IncrementalFasterRCNN``, ``PrunedFasterRCNN``, a pruning algorithm or already stock.

    Returns:
        A copy without teacher, distiller and merging. Its type is the stock detector's, or ``PrunedFasterRCNN`` where it
        names a pruned checkpoint or prunes in training.
    """
    stock = ConfigDict(model).copy()
    if 'detector' in stock:  # a pruning algorithm around it
        return ConfigDict(stock_model_cfg(stock['detector']), type='PrunedFasterRCNN', pruned=stock['checkpoint'])
    for key in INCREMENTAL_KEYS:
        stock.pop(key, None)
    if stock['type'].removeprefix('mmilmil.') in ('IncrementalFasterRCNN', 'PrunedFasterRCNN'):
        stock['type'] = 'PrunedFasterRCNN' if stock.get('pruned') else 'FasterRCNN'
    return stock


def full_model_cfg(model: dict) -> ConfigDict:
    """The full stock detector inside ``model``, before any pruning.

    Args:
        model: See :func:`stock_model_cfg`.
    """
    stock = stock_model_cfg(model)
    if stock.pop('pruned', None):
        stock['type'] = 'FasterRCNN'
    return stock
