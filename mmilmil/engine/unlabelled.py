"""The option `--unlabelled`: images without annotation that join a later stage's training."""

import argparse
from collections.abc import Sequence

from mmengine.config import Config

from ..datasets.unlabelled import paths_in
from ..errors import InputError
from ..loaders import innermost_datasets


def add_unlabelled_option(parser: argparse.ArgumentParser) -> None:
    """Add `--unlabelled` to a tool's arguments."""
    parser.add_argument(
        '--unlabelled', nargs='+', default=[], metavar='DIR',
        help='folders whose images, of any depth and without annotation, join the training of a later stage: the teacher tells '
        'what is on them')


def asks_teacher(cfg: Config) -> bool:
    """Whether a stage has a teacher and a method that asks it, so that images without annotation teach something."""
    model = cfg.model
    return bool(model.get('teacher')) and not (model.get('distiller') is None and model.get('merging') is None)


def use_unlabelled(cfg: Config, folders: Sequence[str]) -> None:
    """Give a run's training set the folders; of several sets the first, and none twice.

    Args:
        cfg: The run's config, changed in place.
        folders: As ``--unlabelled`` names them.

    Raises:
        InputError: a folder cannot be used, or the stage has no use for them.
    """
    if not folders:
        return
    if not asks_teacher(cfg):
        raise InputError(f'--unlabelled {" ".join(folders)}: {cfg.filename} asks no teacher what is on these images '
                         '(model.teacher, and model.distiller or model.merging): leave it out, or give the config of a later '
                         'stage and a method that asks the teacher')
    paths_in(folders)
    next(innermost_datasets(cfg.train_dataloader.dataset))['unlabelled'] = [*folders]
