"""What is inside a config's loaders and dataset wrappers, such as ``RepeatDataset`` and ``ConcatDataset``."""

from collections.abc import Iterator, Mapping

from mmengine.config import Config, ConfigDict

from .errors import InputError


def innermost_datasets(dataset: Mapping | None) -> Iterator[Mapping]:
    """The datasets in the wrappers, in their order; none of ``None``."""
    if dataset is None:
        return
    inner = [dataset['dataset']] if 'dataset' in dataset else dataset.get('datasets')
    if inner is None:
        yield dataset
    else:
        for part in inner:
            yield from innermost_datasets(part)


def innermost_dataset(dataset: Mapping) -> ConfigDict:
    """The dataset in the wrappers; of several the first."""
    return ConfigDict(next(innermost_datasets(dataset)))


def test_loader(cfg: Config) -> ConfigDict:
    """The loader whose pipeline prepares images for a test: the test set's, or where a config has none the validation set's.

    Raises:
        InputError: the config has neither.
    """
    loader = cfg.get('test_dataloader') or cfg.get('val_dataloader')
    if not loader:
        raise InputError(f'the config {cfg.filename or ""} has neither test_dataloader nor val_dataloader, whose pipeline says '
                         'how images are prepared for the finished detector: add val_dataloader, val_cfg and val_evaluator')
    return ConfigDict(loader)
