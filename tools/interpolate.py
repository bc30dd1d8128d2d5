"""Move a student's weights back towards its teacher's, and see what that does: `python tools/interpolate.py CONFIG CHECKPOINT`.

By alpha, 0 for the teacher with the student's new rows and 1 for the student, writes `interpolation.json`, a table
`interpolation.md` and the curves of old, new and all `interpolation.png`. `--write best` saves what is best on val.
"""

import argparse
import json
from pathlib import Path

from mmilmil.atomic_write import write_atomically
from mmilmil.engine.atomic_file import save_atomically
from mmilmil.engine.cli import CfgOptions, check_folder, number, own_tools, read_config, tool_command, user_errors
from mmilmil.engine.interpolation import best, evaluate, interpolated_checkpoint, read_line, trained_on
from mmilmil.engine.methods import add_method_option
from mmilmil.errors import InputError
from mmilmil.evaluation import results_table
from mmilmil.evaluation.tables import measure_name
from mmilmil.visualization import draw_interpolation

ALPHAS = (0, 0.2, 0.35, 0.5, 0.65, 0.8, 1)
CHECKPOINT = 'interpolated.pth'
share = number(float, 0, 1)


def chosen(text: str) -> str | float:
    """``best``, or an alpha."""
    return text if text == 'best' else share(text)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Interpolate between a teacher's weights and its student's")
    parser.add_argument('config', help="config file of the student's stage")
    parser.add_argument('checkpoint', help="the student's checkpoint, such as its final.pth, or its URL")
    parser.add_argument('--teacher', metavar='CHECKPOINT', help="the teacher's, in place of the config's")
    add_method_option(parser, own_tools(__file__))
    parser.add_argument('--alpha', nargs='+', type=share, metavar='A',
                        help='where to measure, from 0 (teacher) to 1 (student); default '
                        f'{" ".join(f"{alpha:g}" for alpha in ALPHAS)}, or nowhere where --write names one')
    parser.add_argument('--split', choices=('val', 'test'), default='val', help='what to measure on; default %(default)s')
    parser.add_argument('--write', type=chosen, metavar='A|best',
                        help=f'save the detector at this alpha as {CHECKPOINT}; best is that of the greatest all on val')
    parser.add_argument('--out', metavar='DIR', help='where to write; default interpolation in the work dir of the config')
    parser.add_argument(
        '--cfg-options', nargs='+', action=CfgOptions, help='settings on top of the config, as key=value')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.write == 'best' and args.split == 'test':
        raise InputError('--write best --split test: nothing is chosen by the test split (docs/protocol.md, 12). Leave --split '
                         'out, so that val chooses, or name an alpha')
    cfg = read_config(args.config, args.cfg_options, teacher=args.teacher, method=args.method)
    out = check_folder(args.out or Path(cfg.work_dir) / 'interpolation', '--out')
    alphas = sorted({*(args.alpha or (ALPHAS if args.write in (None, 'best') else ()))})
    line = read_line(cfg, args.checkpoint)
    chooses = alphas and args.split == 'val' and may_choose(cfg, args.write == 'best')
    out.mkdir(parents=True, exist_ok=True)
    figures = {}
    for alpha, found in evaluate(cfg, line, alphas, args.split, str(out)) if alphas else ():
        figures[alpha] = found
        print(f'alpha {alpha:g}: ' + ', '.join(f'{name} {per_cent(found[name])}' for name in ('old', 'new', 'all')), flush=True)
    marked = best(figures) if chooses else None
    if figures:
        report(args, cfg.model.teacher.checkpoint, out, figures, marked)
    if args.write == 'best' and marked is None:
        raise InputError('--write best: no AP is defined on val, as it shows no object of the classes, so nothing can be '
                         'chosen: name an alpha')
    if args.write is not None:
        alpha = marked if args.write == 'best' else args.write
        path = out / CHECKPOINT
        save_atomically(interpolated_checkpoint(line, alpha, cfg), path)
        test = tool_command(own_tools(__file__), 'test.py', args.config, path)
        print(f'written: {path}, alpha {alpha:g}. Test it: {test}')


def may_choose(cfg, asked: bool) -> bool:
    """Whether val may choose an alpha: none of its images is trained on.

    Raises:
        InputError: it may not, and was asked to.
    """
    both, images = trained_on(cfg)
    if not both:
        return True
    why = f'{both} of the {images} images of val are among the training images, so nothing can be chosen by it'
    if asked:
        raise InputError(f'--write best: {why} (docs/protocol.md, 12). Cut a val from the training images, as the config of '
                         'the data set tells, or name an alpha')
    print(f'{why}: no alpha is marked as the best')
    return False


def per_cent(value: float | None) -> str:
    return '-' if value is None else f'{100 * value:.1f}'


def report(args: argparse.Namespace, teacher: str, out: Path, figures: dict, marked: float | None) -> None:
    """Print the table, and write it, the JSON and the picture."""
    table = results_table({f'alpha {alpha:g}{" (best on val)" * (alpha == marked)}': found for alpha, found in figures.items()})
    content = dict(config=args.config, student=args.checkpoint, teacher=teacher, split=args.split, best=marked,
                   figures=[dict(alpha=alpha, **found) for alpha, found in figures.items()])
    write_atomically((json.dumps(content, indent=2, allow_nan=False) + '\n').encode(), out / 'interpolation.json')
    write_atomically(f'{table}\n'.encode(), out / 'interpolation.md')
    draw_interpolation(figures, str(out / 'interpolation.png'), f'{Path(args.config).stem} on {args.split}',
                       measure_name(next(iter(figures.values()))), marked)
    print(f'\n{table}\n\nin {out}: interpolation.json, interpolation.md, interpolation.png')


if __name__ == '__main__':
    with user_errors():
        main()
