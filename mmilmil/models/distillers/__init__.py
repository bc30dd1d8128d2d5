from .mfrrk import MFRRKDistiller, StudentOutputs

__all__ = ['MFRRKDistiller', 'StudentOutputs']
