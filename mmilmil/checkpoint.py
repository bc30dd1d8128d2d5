"""Checkpoint files: written as plain data, read without running anything that they bring along, in whatever published form."""

import ast
import pickle
import re
import types
from collections import OrderedDict
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, print_log
from torch import Tensor

from .errors import InputError
from .former_names import with_current_names
from .weights import is_url, local_file

# Marks the plain form of a history buffer in a checkpoint.
_BUFFER = '__mmengine_history_buffer__'


def to_plain(content):
    """A checkpoint made of tensors, numbers, strings and containers only, so that torch's safe loading takes it.

    MMEngine's history buffers become marked dicts and numpy values become numbers and lists; tensors are shared, not copied.

    Args:
        content: A checkpoint or any part of one.
    """
    if isinstance(content, HistoryBuffer):
        log, count = content.data
        return {_BUFFER: True, 'log': log.tolist(), 'count': count.tolist(), 'max_length': content.max_length}
    if isinstance(content, OrderedDict):
        plain = OrderedDict((key, to_plain(value)) for key, value in content.items())
        if hasattr(content, '_metadata'):  # module versions, which load_state_dict reads
            plain._metadata = content._metadata
        return plain
    if isinstance(content, Mapping):
        return {to_plain(key): to_plain(value) for key, value in content.items()}
    if isinstance(content, (list, set, frozenset)) or type(content) is tuple:
        return type(content)(to_plain(value) for value in content)
    if isinstance(content, np.generic):
        return content.item()
    if isinstance(content, np.ndarray):
        return content.tolist()
    if isinstance(content, Path):
        return str(content)
    return content


def from_plain(content):
    """The inverse of :func:`to_plain` for history buffers; numpy values stay numbers and lists."""
    if isinstance(content, Mapping):
        if content.get(_BUFFER):
            return HistoryBuffer(content['log'], content['count'], content['max_length'])
        for key in content:
            content[key] = from_plain(content[key])
    elif isinstance(content, list):
        return [from_plain(value) for value in content]
    return content


class _Inert:
    """Takes the place of every object in a foreign checkpoint that is neither tensor nor plain data, and does nothing."""

    def __init__(self, *args, **kwargs) -> None:
        pass

    def __call__(self, *args, **kwargs) -> '_Inert':
        return self

    def __setstate__(self, state) -> None:
        pass

    def __setitem__(self, key, value) -> None:
        pass

    def __hash__(self) -> int:
        return 0

    def append(self, value) -> None:
        """Drop an item that unpickling adds."""

    def extend(self, values) -> None:
        """Drop items that unpickling adds."""


# What a tensor is rebuilt with; none of these runs code that a file brings along.
_TENSOR_PARTS = {
    ('collections', 'OrderedDict'),
    ('torch._utils', '_rebuild_tensor_v2'),
    ('torch._utils', '_rebuild_parameter'),
    ('torch', 'Size'),
    ('torch', 'device'),
    ('torch.serialization', '_get_layout'),
}


class _TensorsOnlyUnpickler(pickle.Unpickler):

    def find_class(self, module: str, name: str):
        storage = module in ('torch', 'torch.storage') and name.endswith('Storage')
        dtype = module == 'torch' and isinstance(getattr(torch, name, None), torch.dtype)
        if (module, name) in _TENSOR_PARTS or storage or dtype:
            return super().find_class(module, name)
        return _Inert


def _load(file, **kwargs):
    """``pickle.load`` by the unpickler above; the form in which torch wrote before 1.6 is read by several of them."""
    return _TensorsOnlyUnpickler(file, **kwargs).load()


def load_checkpoint_file(path: str, map_location: str | None = 'cpu') -> dict:
    """Read a checkpoint file without running anything that it brings along.

    torch's safe loading comes first. MMEngine's own checkpoints are refused by it, for the history buffers inside; of these,
    ``state_dict`` and ``meta`` are read, and in them every object that is neither tensor nor plain data is left out.

    Args:
        path: Checkpoint file, or its URL; see :func:`mmilmil.weights.local_file`.
        map_location: Device for the tensors.

    Returns:
        What is in the file, its weights as ``state_dict`` under the names of the detector (:func:`with_state_dict`).

    Raises:
        InputError: the file is missing, damaged, or holds no state dict that can be read safely; or it cannot be fetched.
    """
    source, more = path, ''
    if is_url(path):
        path = str(local_file(path))
        source, more = f'{path} of {source}', ' Remove it to fetch it again.'
    if not Path(path).is_file():
        raise InputError(f'the checkpoint {path} does not exist: give the path of a .pth file')
    refused = None
    try:
        content = torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        refused = str(error).strip().splitlines()[-1]
    except Exception as error:  # the bytes of a file that is no checkpoint can break the reader in any way
        raise InputError(f'the checkpoint {source} cannot be read ({type(error).__name__}: {error}): is it a complete .pth '
                         f'file?{more}') from error
    if refused:
        # Safe although weights_only is off: this unpickler builds tensors and plain data, no other class or function.
        reader = types.SimpleNamespace(__name__='mmilmil.checkpoint', Unpickler=_TensorsOnlyUnpickler, load=_load)
        try:
            content = torch.load(path, map_location=map_location, weights_only=False, pickle_module=reader)
        except Exception as error:
            raise InputError(f'the checkpoint {source} cannot be read safely ({refused}): in the environment that made it, and '
                             'if you trust it, save torch.save(dict(state_dict=..., meta=...)) again') from error
    found = with_state_dict(content, source) if isinstance(content, Mapping) else None
    if found is None:
        raise InputError(f'the checkpoint {source} holds no state_dict with tensors'
                         f'{" that can be read safely" * bool(refused)} ({refused or type(content).__name__}): save '
                         'torch.save(dict(state_dict=..., meta=...)) in the environment that made it')
    if refused:  # what is left of an optimizer or a log is of no use
        found = {key: found[key] for key in ('state_dict', 'meta') if key in found}
    return found


# Where published files have their weights; the first that is there counts. MMEngine's `ema_state_dict` beside a `state_dict`
# is the training's own model, the averaged one is the latter.
_HOLDERS = ('state_dict', 'ema_state_dict', 'model')


def with_state_dict(content: Mapping, source: str) -> dict | None:
    """A checkpoint's content with its weights as ``state_dict``, whatever form it was published in.

    That is: a bare state dict, averaged weights alone (``ema_state_dict``), names with the ``module.`` of a wrapper for
    several processes, and the copies ``ema_<name>`` that MMDetection 2 kept beside each weight: the weight is the averaged one
    there, the copy the training's own. What is not simply taken is told in a line.

    Args:
        content: A checkpoint, which is not changed.
        source: What it is, for the line.

    Returns:
        The content; ``None`` of one without weights.
    """
    holder = next((key for key in _HOLDERS if isinstance(content.get(key), Mapping)), None)
    weights = content if holder is None else content[holder]
    if not all(isinstance(name, str) for name in weights) or not any(isinstance(value, Tensor) for value in weights.values()):
        return None
    copies = {f'ema_{name.replace(".", "_")}' for name in weights} & weights.keys()
    averages = {'steps'} if holder == 'ema_state_dict' else set()
    others = {name for name, value in weights.items() if not isinstance(value, Tensor)}
    if copies:
        _tell(f'{source} holds averaged weights (EMA), which are taken, and the {len(copies)} of the training itself, which '
              'are not')
    if averages:
        _tell(f'{source} holds averaged weights (EMA) alone, which are taken')
    if copies or averages or others or any(name.startswith('module.') for name in weights):
        plain = OrderedDict((name.removeprefix('module.'), value) for name, value in weights.items()
                            if name not in copies | averages | others)
        versions = getattr(weights, '_metadata', {})  # of the modules, by which they understand names of earlier versions
        if isinstance(versions, Mapping):
            plain._metadata = OrderedDict((re.sub(r'^module(\.|$)', '', name), value) for name, value in versions.items())
        weights = plain
    rest = {} if holder is None else {key: value for key, value in content.items() if key != holder}
    if not isinstance(rest.get('meta', {}), Mapping):
        del rest['meta']
    return dict(rest, state_dict=weights)


@lru_cache
def _tell(line: str) -> None:
    """Once a process, as a run reads its teacher's file more than once."""
    print_log(line, logger='current')


def config_values(text: str) -> dict:
    """The settings in the text of a config, as MMEngine writes it into checkpoints, without running it.

    Args:
        text: Assignments of literals and ``dict(key=literal)``; a config that was inherited or computed is written so.

    Returns:
        The settings by name; types that had another name in an earlier version are called as they are now.

    Raises:
        ValueError: the text holds anything else.
    """
    try:
        statements = ast.parse(text).body
    except SyntaxError as error:
        raise ValueError(f'line {error.lineno} is no Python') from error
    values = {}
    for statement in statements:
        if not (isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)):
            raise ValueError(f'line {statement.lineno} is no assignment')
        try:
            values[statement.targets[0].id] = ast.literal_eval(_DictCalls().visit(statement.value))
        except (ValueError, TypeError) as error:
            raise ValueError(f'line {statement.lineno} holds more than literals') from error
    return with_current_names(values)


class _DictCalls(ast.NodeTransformer):
    """``dict(a=1)`` becomes ``{'a': 1}``, which is a literal; every other call stays one."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if not (isinstance(node.func, ast.Name) and node.func.id == 'dict') or node.args:
            return node
        if any(keyword.arg is None for keyword in node.keywords):
            return node
        return ast.Dict([ast.Constant(keyword.arg) for keyword in node.keywords],
                        [keyword.value for keyword in node.keywords])
