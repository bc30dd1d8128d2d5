"""What is inside a config's loaders and dataset wrappers, such as ``RepeatDataset`` and ``ConcatDataset``."""

from collections.abc import Iterator, Mapping
from functools import partial

from mmengine.config import Config, ConfigDict

from .errors import InputError


def located_datasets(dataset: Mapping | object | None, place: str) -> Iterator[tuple[str, Mapping | object]]:
    """The datasets in the wrappers, in their order, each behind its place in the config; none of ``None``.

    Args:
        dataset: Built, or as a config describes it.
        place: Its own place, as ``val_dataloader.dataset``.
    """
    if dataset is None:
        return
    get = dataset.get if isinstance(dataset, Mapping) else partial(getattr, dataset)
    inner = [(f'{place}.datasets[{index}]', part) for index, part in enumerate(get('datasets', None) or ())]
    if (wrapped := get('dataset', None)) is not None:
        inner = [(f'{place}.dataset', wrapped)]
    if not inner:
        yield place, dataset
    for name, part in inner:
        yield from located_datasets(part, name)


def innermost_datasets(dataset: Mapping | object | None) -> Iterator[Mapping | object]:
    """The datasets in the wrappers, in their order; none of ``None``.

    Args:
        dataset: Built, or as a config describes it.
    """
    return (found for _, found in located_datasets(dataset, ''))


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
