"""Train everything that a config stands on, stage by stage: `python tools/train_chain.py configs/ilmil/frcnn_pcb_4+2.py`.

Finished stages are skipped, a stopped one is resumed; a finished one that its config no longer describes stops the run. Every
stage is tested; the figures, and what the chain forgot, end the run as tables.
"""

import argparse
from pathlib import Path

from mmilmil.engine.chain import check_finished, check_folders, check_testable, run_stage, stages_of
from mmilmil.engine.cli import own_tools, user_errors
from mmilmil.evaluation import chains_table, results_table


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Train a chain of stages and what stands beside it')
    parser.add_argument('config', help='config file of the last stage')
    parser.add_argument(
        '--beside', nargs='+', default=[], metavar='CONFIG',
        help='further configs for the same table, such as fine-tuning')
    parser.add_argument('--joint', metavar='CONFIG', help='joint training, of which the other rows are told as shares')
    parser.add_argument(
        '--work-dir', help="folder that gets one work dir a stage; default: where each stage's config puts it")
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='settings for every stage')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    stages = {}
    for config in filter(None, [args.config, *args.beside, args.joint]):
        for stage in stages_of(config, args.work_dir):
            stages.setdefault(stage.config.resolve(), stage)
    check_folders(stages.values())
    options = tuple(args.cfg_options)
    for stage in stages.values():  # not after hours of training the ones before
        check_finished(stage, options)
    for stage in stages.values():
        check_testable(stage, options)
    tools = own_tools(__file__)
    rows = {stage.name: run_stage(stage, options, tools) for stage in stages.values()}
    joint = args.joint and Path(args.joint).stem
    chains = [stages_of(config, args.work_dir) for config in (args.config, *args.beside)]
    first, *later = chains[0]
    print(results_table(rows, teacher=first.name if later else None, joint=joint))
    if later:
        runs = {chain[-1].name: [rows[stage.name] for stage in chain] for chain in chains if len(chain) > 1}
        print(f'\n{chains_table(runs, rows.get(joint))}')


if __name__ == '__main__':
    with user_errors():
        main()
