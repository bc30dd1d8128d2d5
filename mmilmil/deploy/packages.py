"""The packages of the extra ``deploy``, which training does not need."""

from importlib.util import find_spec

from ..errors import InputError

NEEDED = ('onnx', 'onnxscript', 'onnxruntime')


def check_packages() -> None:
    """Stop where a package of the extra is missing.

    Raises:
        InputError: names them and the command that installs them.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise InputError(f'ONNX models need {", ".join(missing)}, which {"is" if len(missing) == 1 else "are"} not installed: '
                         f'`pip install {" ".join(missing)}` (the extra mmilmil[deploy] has all of it)')
