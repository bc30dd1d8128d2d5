"""Methods: config files that are laid over a student's stage, as fine-tuning and joint training are.

A method is what stands in a config that inherits the stage, but for its ``_base_``: with a line ``_base_ = 'STAGE'`` on top it
is such a config. So it takes over what it does not name, and may refer to the stage's settings as ``_base_.<name>``.
"""

import argparse
import ast
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from mmengine.config import Config

from ..config import read_file, told
from ..errors import InputError
from ..former_names import FORMER_METHODS
from ..models.distillers import Distiller
from ..registry import MODELS
from ..weights import is_url
from .work_dir import FINAL_CHECKPOINT, run_name, with_method

FOLDER = Path('configs/methods')
"""Of the methods that come with the project, below the folder that holds ``configs`` and ``tools``."""


def method_option(tools: Path) -> Callable[[str], Path]:
    """A ``type`` for ``argparse``: a method by its name or by the path of a file of one's own.

    Args:
        tools: Folder of the tool, see :func:`mmilmil.engine.cli.own_tools`; its checkout's methods are known by name.
    """
    known = tools.parent / FOLDER

    def find(text: str) -> Path:
        path = known / f'{text}.py'
        if '/' not in text and path.is_file():
            return path
        if text.endswith('.py') and Path(text).is_file():
            return Path(text)
        if text in FORMER_METHODS:
            raise argparse.ArgumentTypeError(
                f'there is no method {text!r} any more: it is called {FORMER_METHODS[text]} now. To go on with a run by the '
                'former name give a copy of that file with that name')
        names = ', '.join(sorted(file.stem for file in known.glob('*.py')))
        raise argparse.ArgumentTypeError(
            f'there is no method {text!r}: give one of {names}, or the path of a .py file of your own')

    return find


def add_method_option(parser: argparse.ArgumentParser, tools: Path) -> None:
    """Add `--method` to a tool's arguments.

    Args:
        parser: The tool's.
        tools: Folder of the tool.
    """
    parser.add_argument(
        '--method', type=method_option(tools), metavar='METHOD',
        help='what is laid over a later stage, such as finetune, joint or a .py file of your own; default: nothing')


def lay_over(base: Config, method: Path) -> Config:
    """The config of a method's run of a stage.

    A later stage of a chain is taught by the run of the same method of the stage before: where that is a student's stage too,
    and one of ours (``final.pth``), its work dir is the one that it has by this method. A method that names a checkpoint
    itself is left alone. A work dir that the stage's config names gets the method's name behind it.

    Args:
        base: The config of the stage, as it was read from its file.
        method: The method's file.

    Raises:
        InputError: the stage has no teacher; the method is no Python, has a ``_base_`` of its own, refers to settings that the
            stage lacks, or does not fit it.
    """
    stage = Path(base.filename)
    name = f'the method {method.stem} ({method})'
    if not base.model.get('teacher'):
        raise InputError(f'{name} is laid over the stage of a student, and {stage} is a first stage: it has no model.teacher. '
                         'Give the config of a later stage, or leave the method out')
    text = method.read_text(encoding='utf-8', errors='replace')
    lacking = sorted(_names_of_base(text, name) - base.keys())
    if lacking:
        raise InputError(f'{name} refers to {", ".join(f"_base_.{key}" for key in lacking)}, and {stage} has no '
                         f'{" and no ".join(lacking)}: add it there. {method} tells what it is, the files in '
                         'configs/_base_/schedules and the stages in configs/ilmil have examples')
    # MMEngine puts the folder of the file that it reads there, which is a copy.
    text = re.sub(r'\{\{\s*fileDirname\s*\}\}', method.absolute().parent.as_posix(), text)
    with tempfile.TemporaryDirectory() as folder:
        child = Path(folder) / method.name
        child.write_text(f'_base_ = {str(stage.absolute())!r}\n{text}', encoding='utf-8')
        try:
            cfg = Config.fromfile(child)
        except Exception as error:  # a method is Python, so it can fail in any way
            raise InputError(f'{name} cannot be laid over {stage}: {told(error)}') from error
    if not isinstance(cfg.get('model'), dict):
        raise InputError(f'{name} leaves {stage} without a model: remove `model = ...` from it, or write model = dict(...)')
    if isinstance(cfg.get('work_dir'), str):
        cfg.work_dir = with_method(str(Path(cfg.work_dir)), method)
    _check_terms(cfg, base, name)
    _teach_by_same_method(cfg, base, method)
    # Under the name of the run its config is written into the work dir.
    return Config(cfg.to_dict(), cfg_text=cfg.text, filename=str(stage.with_name(f'{run_name(stage, method)}.py')),
                  env_variables=cfg.env_variables)


def check_taught(cfg: Config, method: Path) -> None:
    """The earlier stage by the same method, which teaches a later one, has been trained.

    Args:
        cfg: The config of the later stage, see :func:`lay_over`.
        method: The method's file.

    Raises:
        InputError: names the checkpoint that is missing and the commands that make it.
    """
    teacher = cfg.model.get('teacher')
    checkpoint = teacher.get('checkpoint') if isinstance(teacher, dict) else None
    if not isinstance(checkpoint, str) or is_url(checkpoint):
        return
    path = Path(checkpoint)
    if path.parent.name.endswith(with_method('', method)) and not path.exists():
        raise InputError(f'the teacher {checkpoint}, the stage before by the method {method.stem}, does not exist: train it '
                         f'with `python tools/train.py {teacher.get("config")} --method {method}`, or the whole chain with '
                         f'`python tools/train_chain.py`, this config and --method {method}; where it is elsewhere, give '
                         '--teacher PATH')


def _names_of_base(text: str, name: str) -> set[str]:
    """What a method's text takes from its stage as ``_base_.<name>``."""
    try:
        nodes = list(ast.walk(ast.parse(text)))
    except (SyntaxError, ValueError) as error:
        raise InputError(f'{name} is no Python: {told(error)}') from error
    base = [node for node in nodes if isinstance(node, ast.Name) and node.id == '_base_']
    if any(isinstance(node.ctx, ast.Store) for node in base):
        raise InputError(f'{name} has a `_base_` of its own, and that is the stage which it is laid over: remove that line and '
                         'write what it inherits into the file, or use it as a config without --method')
    return {node.attr for node in nodes if isinstance(node, ast.Attribute) and node.value in base}


def _check_terms(cfg: Config, base: Config, name: str) -> None:
    """The method has no terms of a distiller for other detectors than the stage's."""
    distiller, before = cfg.model.get('distiller'), base.model.get('distiller')
    if not isinstance(distiller, dict) or not isinstance(before, dict):
        return
    kind, other = (MODELS.get(one.type) if isinstance(one.get('type'), str) else one.get('type') for one in (distiller, before))
    if kind is not other:
        # What is no distiller at all is told where it is built.
        if hasattr(kind, 'view') and kind.view is not getattr(other, 'view', None):
            raise InputError(f'{name} does not fit the detector of {base.filename}, {cfg.model.type}: its {kind.__name__} has '
                             'terms of other detectors. docs/methods.md tells for which detectors a method is')
        return
    others = {term for other in Distiller.__subclasses__() for term in other.asked} - set(getattr(kind, 'asked', ()))
    if strange := [term for term in distiller if term in others and term not in before]:
        raise InputError(f'{name} does not fit the detector of {base.filename}, {cfg.model.type}: its {kind.__name__} has no '
                         f'{" and no ".join(f"model.distiller.{term}" for term in strange)}. docs/methods.md tells for which '
                         'detectors a method is')


def _teach_by_same_method(cfg: Config, base: Config, method: Path) -> None:
    teacher, before = cfg.model.get('teacher'), base.model.teacher
    if not isinstance(teacher, dict) or not isinstance(before, dict) or teacher.get('checkpoint') != before.get('checkpoint'):
        return
    config, checkpoint = teacher.get('config'), teacher.get('checkpoint')
    if not isinstance(config, str) or not isinstance(checkpoint, str) or is_url(checkpoint):
        return
    # A test has no need of the teacher, whose files may not be there.
    path = Path(checkpoint)
    if path.name == FINAL_CHECKPOINT and Path(config).is_file() and read_file(config).model.get('teacher'):
        teacher.checkpoint = str(path.parent.with_name(with_method(path.parent.name, method)) / FINAL_CHECKPOINT)
