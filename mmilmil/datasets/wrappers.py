"""What is inside a config's dataset wrappers, such as ``RepeatDataset`` and ``ConcatDataset``."""

from collections.abc import Iterator, Mapping

from mmengine.config import ConfigDict


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
