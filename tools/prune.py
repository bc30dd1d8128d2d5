"""Prune a Faster R-CNN: `python tools/prune.py CONFIG CHECKPOINT --ratio 0.5 --out DIR`.

MMRazor finds the units of channels that depend on one another; their channels are ranked by L1 norm, or as --rank says. DIR
gets `pruned.pth`, a static detector that carries its structure, and `channels.json`, its channels by unit for `--config`. One
table compares the two detectors.
"""

import argparse
import copy
import json
import tempfile
from pathlib import Path

import torch
from mmengine.analysis import parameter_count
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import set_random_seed
from torch import nn

from mmilmil.atomic_write import write_atomically
from mmilmil.checkpoint import to_plain
from mmilmil.class_names import checkpoint_classes
from mmilmil.engine.atomic_file import save_atomically
from mmilmil.engine.cli import CfgOptions, check_folder, number, own_tools, read_config, user_errors
from mmilmil.engine.methods import add_method_option
from mmilmil.engine.val_figures import val_figures
from mmilmil.errors import InputError
from mmilmil.evaluation.tables import measure_name
from mmilmil.loaders import innermost_dataset, test_loader
from mmilmil.models.pruned import check_prunable
from mmilmil.models.supported import check_supported
from mmilmil.models.teacher import load_detector
from mmilmil.pruning import analysis, complexity, prune
from mmilmil.pruning.check import Outputs, check_pruned, layer_outputs
from mmilmil.table_layout import markdown_table

PRUNED = 'pruned.pth'
CHANNELS = 'channels.json'
PRUNING = 'pruning.json'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Prune a Faster R-CNN with MMRazor')
    parser.add_argument('config', help='config file that the checkpoint was trained with')
    parser.add_argument('checkpoint', help='checkpoint file, or its URL; it stays as it is')
    add_method_option(parser, own_tools(__file__))
    parser.add_argument('--out', required=True, help='folder for the pruned detector')
    how = parser.add_mutually_exclusive_group()
    how.add_argument('--ratio', type=float, help='share of the channels of every unit that is kept; default 0.5')
    how.add_argument('--target-flops', type=float, help='share of the FLOPs that is kept; the ratio is found by search')
    how.add_argument('--config', dest='channels', help='JSON file: by name or pattern of units a share or a number of channels')
    parser.add_argument('--exclude', nargs='+', default=[], metavar='PATTERN', help='units to leave whole, such as "neck.*"')
    parser.add_argument('--rank', choices=prune.UNITS, default='l1', help='how channels are ranked: by the L1 norm of '
                        'their weights, by the scale of the batch norm behind them, or, to compare with, at random')
    parser.add_argument('--size', nargs=2, type=number(int, 1), metavar=('HEIGHT', 'WIDTH'),
                        help="size of the input in pixels for FLOPs and latency; default the test pipeline's")
    parser.add_argument('--runs', type=number(int, 1), default=10, help='timed passes of each detector; default 10')
    parser.add_argument('--no-eval', action='store_true', help='do not measure AP on the validation split')
    parser.add_argument(
        '--cfg-options', nargs='+', action=CfgOptions, help='settings on top of the config, as key=value')
    return parser.parse_args()


def input_size(cfg: Config) -> tuple[int, int]:
    """Height and width that the test pipeline resizes to, rounded up to what the detector's padding asks for."""
    steps = innermost_dataset(test_loader(cfg).dataset).pipeline
    scales = [step['scale'] for step in steps if step['type'].endswith('Resize') and 'scale' in step]
    if not scales:
        raise InputError('the test pipeline resizes to no fixed scale, so the size of the input is not known: give --size '
                         'HEIGHT WIDTH')
    divisor = cfg.model.data_preprocessor.get('pad_size_divisor', 1)
    long, short = max(scales[0]), min(scales[0])
    return tuple(-(-side // divisor) * divisor for side in (short, long))


def table(before: dict, after: dict) -> str:
    """Both detectors and their ratio, in Markdown."""
    rows = [(name, f'{value:.4g}', f'{after[name]:.4g}', f'{after[name] / value:.3f}') for name, value in before.items()]
    return markdown_table([('', 'before', 'after', 'after / before'), *rows])


def read_channels(path: str) -> dict:
    """The prune config in a JSON file."""
    try:
        config = json.loads(Path(path).read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise InputError(f'the prune config {path} cannot be read ({error}): it is a JSON object of units, such as '
                         '{"backbone.*": 0.5, "rpn_head.rpn_conv": 16}') from error
    if not isinstance(config, dict):
        raise InputError(f'the prune config {path} is no JSON object: write {{"backbone.*": 0.5, "rpn_head.rpn_conv": 16}}')
    return config


def choose(args: argparse.Namespace, algorithm, units: dict, flops: dict) -> dict[str, int]:
    """Channels to keep of each unit."""
    if args.channels:
        return prune.chosen_channels(units, read_channels(args.channels), args.channels)
    if args.target_flops is not None:
        return prune.choices_for_flops(algorithm, units, flops, args.target_flops)
    return prune.even_choices(units, 0.5 if args.ratio is None else args.ratio)


def loaded_again(content: dict, cfg: Config, wanted: Outputs) -> nn.Module:
    """The pruned detector as whoever uses its file gets it, run once; ``wanted`` is what the masked one computes.

    Raises:
        InputError: it cannot be loaded, does not run, or computes something else.
    """
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / PRUNED
        save_atomically(content, draft)
        try:
            detector, _ = load_detector(draft, cfg.model, 'the pruned ', '')
        except InputError as error:
            raise InputError('the pruned detector cannot be loaded again, so it is not kept: leave the units around the layer '
                             f'that does not fit whole (--exclude). Met was: {error}') from error
    check_pruned(detector, wanted)
    return detector


def save(content: dict, channels: dict[str, int], out: Path) -> Path:
    """Write the pruned detector and its channels, each whole."""
    out.mkdir(parents=True, exist_ok=True)
    save_atomically(content, out / PRUNED)
    draft = out / f'{CHANNELS}.part'
    draft.write_text(json.dumps(channels, indent=2) + '\n', encoding='utf-8')
    draft.replace(out / CHANNELS)
    return out / PRUNED


def main() -> None:
    args = parse_args()
    cfg = read_config(args.config, args.cfg_options, method=args.method)
    init_default_scope('mmilmil')
    for check in (check_supported, check_prunable):
        check(cfg.model, f'the model of {args.config}')
    out = check_folder(args.out, '--out')
    if not args.no_eval and not (cfg.get('val_dataloader') and cfg.get('val_evaluator')):
        raise InputError(f'{args.config} has no val_dataloader and val_evaluator to measure AP by: add them, or give --no-eval')
    if (out / PRUNED).resolve() == Path(args.checkpoint).resolve():
        raise InputError(f'--out {out} would overwrite the checkpoint {args.checkpoint}: name another folder')
    set_random_seed(cfg.get('randomness', {}).get('seed') or 0)
    size = tuple(args.size) if args.size else input_size(cfg)
    full, classes = load_detector(args.checkpoint, cfg.model, 'the ', '')
    flops = complexity.layer_flops(full, size)
    algorithm = analysis.pruning_algorithm(copy.deepcopy(full), prune.UNITS[args.rank])
    units = analysis.prunable_units(algorithm, args.exclude)
    channels = choose(args, algorithm, units, flops)
    prune.set_channels(algorithm, units, channels)
    wanted = layer_outputs(algorithm.architecture)
    static = prune.static_detector(algorithm, getattr(full, 'structure', None))
    split = checkpoint_classes(args.checkpoint)[1]
    names = dict(classes=classes) if split is None else dict(classes=classes, split=split)
    meta = dict(cfg=cfg.pretty_text, dataset_meta=names, structure=static.structure)
    content = to_plain(dict(meta=meta, state_dict=static.state_dict()))
    pruned = loaded_again(content, cfg, wanted)
    path = save(content, channels, out)

    print(prune.channel_table(units, channels), end='\n\n')
    seconds = complexity.latencies([full, pruned], size, args.runs)
    rows = [{
        'parameters (M)': parameter_count(detector)[''] / 1e6,
        f'GFLOPs, {size[0]}x{size[1]}': sum(complexity.layer_flops(detector, size).values()) / 1e9,
        'file (MB)': megabytes(detector),
        'latency (ms)': 1e3 * taken['whole'],
        'backbone and neck of it (ms)': 1e3 * taken['features'],
    } for detector, taken in zip((full, pruned), seconds)]
    if not args.no_eval:
        add_figures(cfg, (args.checkpoint, str(path)), rows)
    write_atomically((json.dumps(dict(zip(('before', 'after'), rows)), indent=2) + '\n').encode(), out / PRUNING)
    print(f'\n{table(*rows)}\n\n{path}: train it further with a config whose model has type="PrunedFasterRCNN" and '
          f'pruned="{path}"')


def megabytes(detector: nn.Module) -> float:
    """Size of a file with the weights only."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'weights.pth'
        torch.save(detector.state_dict(), path)
        return path.stat().st_size / 1e6


def add_figures(cfg: Config, checkpoints: tuple[str, str], rows: list[dict]) -> None:
    """Add AP on the validation split to the rows, or tell why not."""
    try:
        figures = [val_figures(cfg, checkpoint) for checkpoint in checkpoints]
    except InputError as error:
        print(f'AP is not measured: {error}')
        return
    for row, found in zip(rows, figures):
        row[f'{measure_name(found)} on val (%)'] = 100 * found['all']


if __name__ == '__main__':
    with user_errors():
        main()
