"""Build the report of a run once more: `python tools/report.py WORK_DIR`.

WORK_DIR is that of a stage, a chain or a comparison; `index.html` and `report.md` go into its folder `report`. Several work
dirs are set side by side in `--out`. Everything comes from the files there, no model is run.
"""

import argparse
from pathlib import Path

from mmilmil.engine.cli import check_folder, number, user_errors
from mmilmil.errors import InputError
from mmilmil.report import TEXT, Settings, write_report, write_several


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Build the report of a run, a chain or a comparison')
    parser.add_argument('work_dirs', nargs='+', metavar='WORK_DIR', help='of a stage, a chain or a comparison; several are '
                        'set side by side')
    parser.add_argument('--out', help='folder to write; default: report in the work dir. Several need one')
    parser.add_argument('--score-thr', type=number(float, 0, 1), default=Settings.score_thr, help='detections of lower scores '
                        f'are left out where errors are counted and pictures drawn; default {Settings.score_thr}')
    parser.add_argument('--images', type=number(int, 0), default=Settings.images, metavar='N', help='pictures of each kind; '
                        f'default {Settings.images}')
    parser.add_argument('--seed', type=number(int, 0), default=Settings.seed, help='of the images that are drawn at random; '
                        f'default {Settings.seed}')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    settings = Settings(args.score_thr, args.images, args.seed)
    out = Path(check_folder(args.out, '--out')) if args.out else None
    if len(args.work_dirs) > 1:
        if out is None:
            raise InputError('several work dirs are set side by side in a folder of their own: name it by --out')
        page = write_several([Path(folder) for folder in args.work_dirs], out, settings)
    else:
        page = write_report(Path(args.work_dirs[0]), settings, out)
    print(f'{page}\n{page.with_name(TEXT)}')


if __name__ == '__main__':
    with user_errors():
        main()
