from .select_stages import SelectStages

__all__ = ['SelectStages']
