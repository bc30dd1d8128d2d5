"""The glue to MMRazor. Importing it lets MMRazor import on torch 2 (:mod:`mmilmil.compat`)."""

from .demo_input import DetectionDemoInput

__all__ = ['DetectionDemoInput']
