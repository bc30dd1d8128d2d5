"""Write a built-in set of drawn shapes as a VOC-style folder, with the same and masks as COCO files in its coco/."""

import argparse

from mmilmil.data_tools.shape_scenarios import DEFAULT, SCENARIOS, SPLITS
from mmilmil.data_tools.shapes import ShapesSettings, write_shapes
from mmilmil.engine.cli import check_folder, user_errors


def parse_args() -> argparse.Namespace:
    default = ShapesSettings()
    parser = argparse.ArgumentParser(description=__doc__, epilog='scenarios: ' + '; '.join(map(told, SCENARIOS)))
    parser.add_argument('out', nargs='?', help='folder to make (default: data/shapes, of another scenario '
                        'data/shapes_ and its name, where the configs look)')
    parser.add_argument('--scenario', choices=SCENARIOS, default=DEFAULT, help='what an image holds (default: %(default)s)')
    for split in SPLITS:
        parser.add_argument(f'--{split}', type=int, metavar='N',
                            help=f'images of the {split} split (default: {getattr(default, split)}, or as the scenario has)')
    parser.add_argument('--size', type=int, default=default.size, metavar='PX',
                        help='width and height of an image (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=default.seed, help='same seed, same images (default: %(default)s)')
    parser.add_argument('--force', action='store_true',
                        help='draw again; replace the folder even if it holds something else')
    return parser.parse_args()


def told(name: str) -> str:
    """A scenario in a line."""
    scenario = SCENARIOS[name]
    old, new = (', '.join(group) for group in (scenario.classes[:scenario.old], scenario.classes[scenario.old:]))
    return f'{name}: {scenario.summary}, old {old}, new {new}'


def show(done: int, total: int) -> None:
    if done % 50 == 0 or done == total:
        print(f'drawn {done} of {total} images', flush=True)


def main() -> None:
    args = parse_args()
    suffix = '' if args.scenario == DEFAULT else f'_{args.scenario.replace("-", "_")}'
    out = f'data/shapes{suffix}' if args.out is None else args.out
    check_folder(out, 'the folder')
    settings = ShapesSettings.of_scenario(args.scenario, train=args.train, val=args.val, test=args.test, size=args.size,
                                          seed=args.seed)
    written = write_shapes(out, settings, args.force, show)
    print(f'{out}: {"written" if written else "already there with these settings, left as it is"}')


if __name__ == '__main__':
    with user_errors():
        main()
