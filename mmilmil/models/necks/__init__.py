from .select_levels import SelectLevels

__all__ = ['SelectLevels']
