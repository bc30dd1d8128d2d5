"""Train everything that a config stands on, stage by stage: `python tools/train_chain.py configs/ilmil/frcnn_pcb_4+2.py`.

Finished stages are skipped, a stopped one is resumed; a finished one that its config no longer describes stops the run. Every
stage is tested; the figures, and what the chain forgot, end the run as tables, and as a report in `WORK_DIR/report`, which
a chain that fails has too, of the stages that it finished.
`--methods finetune joint` trains the chain by these too, for the same tables. `--gpus N` runs each stage in N processes,
`--launcher slurm` inside an allocation of Slurm.
"""

import argparse
import logging

from mmengine.logging import MMLogger

from mmilmil.engine.chain import FLAGS, check_finished, check_testable, run_stage
from mmilmil.engine.chain_stages import ChainStage, check_folders, stages_of
from mmilmil.engine.cli import number, own_tools, user_errors
from mmilmil.engine.methods import method_option
from mmilmil.engine.next_steps import closing_lines
from mmilmil.engine.processes import start_by
from mmilmil.engine.screen import add_verbose_option, screen_for
from mmilmil.engine.unlabelled import add_unlabelled_option
from mmilmil.errors import InputError
from mmilmil.evaluation import chains_table, results_table
from mmilmil.report import report_after_all


def parse_args() -> argparse.Namespace:
    method = method_option(own_tools(__file__))
    parser = argparse.ArgumentParser(description='Train a chain of stages and what stands beside it')
    parser.add_argument('config', help='config file of the last stage')
    parser.add_argument(
        '--method', type=method, metavar='METHOD',
        help="by what the chain itself is trained; default: as its configs say. See train.py's --method")
    parser.add_argument(
        '--methods', nargs='+', default=[], type=method, metavar='METHOD',
        help='train the chain by these too, for the same tables, such as finetune joint. The first one that is trained on '
        'the boxes of all classes, as joint is, is what the other rows are told as shares of')
    parser.add_argument(
        '--beside', nargs='+', default=[], metavar='CONFIG', help='further configs for the same tables, each with its chain')
    parser.add_argument(
        '--work-dir', help="folder that gets one work dir a stage; default: where each stage's config puts it")
    parser.add_argument(
        '--gpus', type=number(int, 1), metavar='N',
        help='processes of each stage, one a GPU, without GPUs on CPU; default 1, under Slurm the tasks of the allocation')
    parser.add_argument(
        '--launcher', choices=['none', 'slurm'], default='none',
        help="slurm: inside an allocation (sbatch, salloc), by a step of srun a stage; more of srun's arguments in SRUN_ARGS")
    add_unlabelled_option(parser)
    add_verbose_option(parser)
    parser.add_argument('--amp', action='store_true', help='train with automatic mixed precision')
    parser.add_argument('--auto-scale-lr', action='store_true', help='scale the learning rate with the total batch size')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='settings for every stage')
    return parser.parse_args()


def chains_of(args: argparse.Namespace) -> list[list[ChainStage]]:
    """The chain of the config first, then the others in the order that they were asked for."""
    asked = [(args.config, args.method), *((args.config, method) for method in args.methods),
             *((config, None) for config in args.beside)]
    return [stages_of(config, args.work_dir, method) for config, method in asked]


def main() -> None:
    args = parse_args()
    start = start_by(args.launcher, args.gpus)
    flags = [flag for name, flag in FLAGS.items() if getattr(args, name)]
    if start.processes > 1 and not args.auto_scale_lr:
        print(f'{start.processes} processes: a step sees {start.processes} times the batch_size of the config; --auto-scale-lr '
              'would scale the learning rate with it', flush=True)
    if not args.verbose:
        MMLogger.get_current_instance().setLevel(logging.ERROR)  # configs and data are read many times
    chains = chains_of(args)
    stages = {}
    for chain in chains:
        for stage in chain:
            stages.setdefault(stage.files, stage)
    check_folders(stages.values())
    options = tuple(args.cfg_options)
    for stage in stages.values():  # not after hours of training the ones before
        check_finished(stage, options, flags, args.unlabelled)
    for stage in stages.values():
        check_testable(stage, options)
    tools = own_tools(__file__)
    rows = {}
    try:
        with screen_for(stages.values(), 'train_chain.py', args.verbose) as screen:
            for stage in stages.values():
                rows[stage.name] = run_stage(stage, options, tools, start, flags, args.unlabelled, screen)
    except InputError:
        finished = [stage.work_dir for stage in stages.values() if stage.name in rows]
        if finished and (report := report_after_all(finished, args.work_dir, chains[0][-1].work_dir)):
            print(f'report of what is finished: {report}', flush=True)
        raise
    joint = next((stage.name for stage in stages.values() if stage.is_joint), None)
    first, *later = chains[0]
    print(results_table(rows, teacher=first.name if later else None, joint=joint))
    if later:
        runs = {chain[-1].name: [rows[stage.name] for stage in chain] for chain in chains if len(chain) > 1}
        print(f'\n{chains_table(runs, rows.get(joint))}')
    report = report_after_all([stage.work_dir for stage in stages.values()], args.work_dir, chains[0][-1].work_dir)
    print(f'\n{closing_lines(chains[0][-1], tools, report)}')


if __name__ == '__main__':
    with user_errors():
        main()
