"""From a run's config to one that stock MMDetection understands without mmilmil."""

from mmengine.config import Config, ConfigDict

from ..models.stock import stock_model_cfg

# Settings that stock datasets know nothing of.
_STAGE_KEYS = ('keep', )
_STOCK_DATASETS = {'IncrementalVOCDataset': 'XMLDataset', 'IncrementalCocoDataset': 'CocoDataset'}


def stock_config(cfg: Config) -> Config:
    """A stock inference config for the detector that ``cfg`` trains.

    Args:
        cfg: The run's config.

    Returns:
        Model, test data and visualizer in stock MMDetection's words, for ``init_detector``, ``DetInferencer`` and mmdeploy.
    """
    loader = ConfigDict(cfg.test_dataloader).copy()
    loader['dataset'] = dataset = ConfigDict(loader['dataset']).copy()
    for key in _STAGE_KEYS:
        dataset.pop(key, None)
    dataset['type'] = _STOCK_DATASETS.get(dataset['type'].rpartition('.')[2], dataset['type'])
    dataset['metainfo'] = dict(classes=tuple(dataset['metainfo']['classes']))
    return Config(
        dict(
            default_scope='mmdet',
            model=stock_model_cfg(cfg.model).to_dict(),
            test_dataloader=loader.to_dict(),
            test_pipeline=dataset['pipeline'],
            visualizer=dict(type='DetLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')], name='visualizer')))
