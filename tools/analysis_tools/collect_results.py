"""Copy the figures of finished runs into the documentation and print them as a table.

`python tools/analysis_tools/collect_results.py work_dirs/pcb/seed0 work_dirs/pcb/seed1 --out docs/results/pcb_4+2`: each folder
holds one work dir a stage (`tools/train_chain.py --work-dir`). Writes `<out>/<folder>/<stage>.json`: the figures with the seed,
epochs and versions that made them.
"""

import argparse
import json
from pathlib import Path

from mmengine.config import Config

from mmilmil.compat import load_checkpoint_file
from mmilmil.engine.cli import user_errors
from mmilmil.engine.hooks.final_model import FINAL_CHECKPOINT
from mmilmil.errors import InputError
from mmilmil.evaluation import results_table


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Collect the figures of finished runs')
    parser.add_argument('folders', nargs='+', help='folders that hold one work dir a stage, such as one folder a seed')
    parser.add_argument('--out', required=True, help='folder for the JSON files')
    parser.add_argument('--teacher', help='stage whose old AP is the measure of keeping')
    parser.add_argument('--joint', help='stage that is the upper bound')
    return parser.parse_args()


def record(work_dir: Path) -> dict:
    """The figures of one run, with what made them."""
    meta = load_checkpoint_file(str(work_dir / FINAL_CHECKPOINT))['meta']
    cfg = Config.fromstring(meta['cfg'], '.py')
    figures = json.loads((work_dir / 'metrics.json').read_text())
    made = dict(stage=work_dir.name, seed=cfg.randomness.seed, epochs=meta['epoch'], iterations=meta['iter'])
    return dict(figures, made=made)


def main() -> None:
    args = parse_args()
    for folder in map(Path, args.folders):
        runs = sorted(path.parent for path in folder.glob('*/metrics.json'))
        if not runs:
            raise InputError(f'{folder} holds no */metrics.json: name a folder that tools/train_chain.py --work-dir filled')
        rows = {run.name: record(run) for run in runs}
        out = Path(args.out) / folder.name
        out.mkdir(parents=True, exist_ok=True)
        for name, row in rows.items():
            (out / f'{name}.json').write_text(json.dumps(row, indent=2) + '\n')
        print(f'{folder}\n{results_table(rows, teacher=args.teacher, joint=args.joint)}\n')


if __name__ == '__main__':
    with user_errors():
        main()
