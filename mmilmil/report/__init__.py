from .. import compat  # noqa: F401  isort: skip  (tells what of the stack is missing, before it is imported)
from .relatives import Settings
from .write import PAGE, REPORT_FOLDER, TEXT, refresh, report_after, report_after_all, write_report, write_several

__all__ = ['PAGE', 'REPORT_FOLDER', 'TEXT', 'Settings', 'refresh', 'report_after', 'report_after_all', 'write_report',
           'write_several']
