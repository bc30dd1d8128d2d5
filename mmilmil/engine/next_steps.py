"""What can be done with a stage that is finished, as commands to be pasted."""

import shlex
from pathlib import Path
from typing import Optional

from mmengine.config import Config

from ..errors import InputError
from ..loaders import innermost_dataset, test_loader
from ..models.pruned import check_prunable
from .chain_stages import ChainStage
from .cli import tool_command

_VOC_IMAGES = 'JPEGImages'


def closing_lines(stage: ChainStage, tools: Path, report: Optional[Path] = None) -> str:
    """Where the report is, and what to do with a model: a line each.

    Args:
        stage: The stage of the model, a finished one.
        tools: Folder of tools, see :func:`mmilmil.engine.cli.own_tools`.
        report: The report, where one was written.

    Returns:
        The lines. What does not fit the detector is left out; of the data that a user is to bring the place is called
        ``path/to/your/data``.
    """
    lines = [('report', shlex.quote(str(report)))] if report else []
    model = [str(path) for path in (_config(stage), stage.checkpoint)]
    cfg = Config.fromfile(model[0])
    lines.append(('use it', tool_command(tools, 'infer.py', _images(cfg), *model, '--out', stage.work_dir / 'detections')))
    lines.append(('add a class', tool_command(
        tools, 'new_split.py', '--ann', 'path/to/your/data', '--teacher', *model)))
    if _prunable(cfg):
        lines.append(('prune it', tool_command(tools, 'prune.py', *model, '--out', stage.work_dir / 'pruned')))
    lines.append(('export it', tool_command(tools, 'export_onnx.py', *model, '--out', stage.work_dir / 'onnx')))
    width = max(len(what) for what, _ in lines) + 2
    return '\n'.join(f'{what + ":":<{width}}{command}' for what, command in lines)


def _config(stage: ChainStage) -> Path:
    """The config as the stage was run, with method and settings in it, which MMEngine leaves in its folder."""
    ran = stage.work_dir / f'{stage.name}.py'
    return ran if ran.is_file() else stage.config


def _images(cfg: Config) -> str:
    """The folder of the images that it is tested on."""
    loader = test_loader(cfg)
    dataset = innermost_dataset(loader.dataset) if loader else {}
    prefix = dataset.get('data_prefix') or {}
    folder = Path(dataset.get('data_root') or '', prefix.get('img') or prefix.get('img_path') or '')
    if (folder / _VOC_IMAGES).is_dir():
        folder /= _VOC_IMAGES
    return str(folder) if folder != Path() and folder.is_dir() else 'path/to/your/images'


def _prunable(cfg: Config) -> bool:
    try:
        check_prunable(cfg.model, 'it')
    except (InputError, KeyError):
        return False
    return True
