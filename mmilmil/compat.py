"""Every quirk of other packages' versions, and nothing else.

Four of them: the versions that work together, MMRazor's quantization on torch 2, MMEngine's readers of checkpoints, and how it
finds the configs of a package.
"""

import sys
import types
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import mmengine
import torch
from mmengine.config import Config
from mmengine.runner import checkpoint as mmengine_checkpoint
from packaging.specifiers import SpecifierSet

from .errors import InputError

# Other modules of the package are imported where they are used: this one may run while one of them is half imported, whose
# import of MMEngine has called it.

# mmdet needs mmcv < 2.2.0.
REQUIRED = {'mmengine': '>=0.7.1,<1.0.0', 'mmcv': '>=2.0.0,<2.2.0', 'mmdet': '>=3.0.0,<4.0.0'}


def check_versions(required: Mapping[str, str] = REQUIRED) -> None:
    """Stop where a package of the stack is missing or of a version that cannot work.

    Raises:
        ImportError: names the package, the version found, the versions needed and the command that installs them.
    """
    for package, needed in required.items():
        remedy = f'install it with `pip install "{package}{needed}"` (requirements.txt has the tested versions)'
        try:
            found = version(package)
        except PackageNotFoundError as error:
            raise ImportError(f'mmilmil needs {package} {needed}, which is not installed: {remedy}') from error
        if not SpecifierSet(needed, prereleases=True).contains(found):
            raise ImportError(f'mmilmil needs {package} {needed}, but {found} is installed: {remedy}')


class _NotHere(type):
    """Class of the stand-ins below: they may be named, not used."""

    def __call__(cls, *args, **kwargs):
        raise RuntimeError(f"mmrazor.structures.quantization.{cls.__name__} cannot be used: MMRazor's quantization needs "
                           'torch < 2.0, and mmilmil does not quantize')


class _QuantizationStandIn(types.ModuleType):

    __all__ = ()
    __path__ = ()

    def __getattr__(self, name: str) -> type:
        if name.startswith('__'):
            raise AttributeError(name)
        return _NotHere(name, (), {})


def let_mmrazor_import() -> None:
    """Stand in for ``mmrazor.structures.quantization``, which fails to import on torch >= 2.0 and takes all of MMRazor along.

    Costs nothing where MMRazor is never imported.
    """
    name = 'mmrazor.structures.quantization'
    if int(torch.__version__.split('.')[0]) >= 2:
        sys.modules.setdefault(name, _QuantizationStandIn(name, 'A stand-in made by mmilmil.compat.'))


def read_checkpoints_safely() -> None:
    """Let MMEngine read checkpoint files by :func:`~.checkpoint.load_checkpoint_file`, in every tool and on resuming.

    Its own reader ends in torch's refusal of the history buffers that MMEngine itself saves. Its downloads check no hash, and
    end in a traceback of urllib without a network; ``torchvision://`` asks for torchvision to be installed.
    """
    register = mmengine_checkpoint.CheckpointLoader.register_scheme
    register(prefixes='', force=True, loader=load_from_local)
    register(prefixes=('http://', 'https://'), force=True, loader=load_from_http)
    register(prefixes=('modelzoo://', 'torchvision://'), force=True, loader=load_from_torchvision)
    mmengine_checkpoint.load_from_http = load_from_http  # open-mmlab:// and the like end here


def load_from_local(filename: str, map_location=None) -> dict:
    from .checkpoint import load_checkpoint_file
    return load_checkpoint_file(str(Path(filename).expanduser()), map_location)


def load_from_http(filename: str, map_location=None) -> dict:
    from .checkpoint import load_checkpoint_file
    return load_checkpoint_file(filename, map_location)


def load_from_torchvision(filename: str, map_location=None) -> dict:
    """By MMEngine's own table of the URLs, which asks for no torchvision."""
    name = filename.partition('://')[2]
    urls = mmengine.load(Path(mmengine.__file__).parent / 'hub/torchvision_0.12.json')
    if name not in urls:
        raise InputError(f'{filename} is not among the weights that MMEngine names ({", ".join(sorted(urls))}): give the URL '
                         'that torchvision publishes, https://download.pytorch.org/models/...')
    return load_from_http(urls[name], map_location)


def find_configs_of_packages() -> None:
    """Let a config inherit ``mmdet::...`` by :func:`~.config.config_file`.

    MMEngine's own way asks for pkg_resources, which new versions of setuptools lack, and leaves a ``_scope_`` in what was
    inherited, in which a module of mmilmil that takes its place is not found.
    """
    beside = Config._get_cfg_path

    def path_and_scope(name: str, file: str) -> tuple:
        from .config import config_file
        return (str(config_file(name)), None) if '::' in name else beside(name, file)

    Config._get_cfg_path = staticmethod(path_and_scope)


check_versions()
let_mmrazor_import()
read_checkpoints_safely()
find_configs_of_packages()
