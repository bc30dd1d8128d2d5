"""From an incremental detector's config to the stock MMDetection one that its checkpoint fits."""

from mmengine.config import ConfigDict

# Settings that the student adds to a stock detector's; its checkpoint knows nothing of them.
INCREMENTAL_KEYS = ('teacher', 'distiller', 'merging')


def stock_model_cfg(model: dict) -> ConfigDict:
    """The stock detector inside ``model``.

    Args:
        model: A model config, of ``IncrementalFasterRCNN`` or already stock.

    Returns:
        A copy without teacher, distiller and merging, whose type is the stock detector's.
    """
    stock = ConfigDict(model).copy()
    for key in INCREMENTAL_KEYS:
        stock.pop(key, None)
    if stock['type'] in ('IncrementalFasterRCNN', 'mmilmil.IncrementalFasterRCNN'):
        stock['type'] = 'FasterRCNN'
    return stock
