from .base import Distiller
from .dense import DenseDistiller
from .mfrrk import MFRRKDistiller

__all__ = ['DenseDistiller', 'Distiller', 'MFRRKDistiller']
