"""What of int8 the processor computes by instructions of its own."""

import platform
import re
from dataclasses import dataclass
from pathlib import Path

_INT8 = ('avx_vnni', 'avx512_vnni', 'amx_int8', 'asimddp', 'i8mm')
"""As Linux calls them: x86's VNNI and AMX, and ARM's products of four bytes at once."""
_X86 = ('x86_64', 'amd64', 'i386', 'i686')
CPUINFO = Path('/proc/cpuinfo')


@dataclass(frozen=True)
class Processor:
    """A processor, as far as int8 is concerned.

    Attributes:
        int8: The names of its instructions for int8; None where the system does not tell.
        seven_bits: Whether weights take 7 bits instead of 8: x86 without VNNI adds pairs of products in 16 bits, which 8 bits
            can overflow.
    """

    int8: tuple[str, ...] | None
    seven_bits: bool

    def told(self) -> str:
        """The instructions in words."""
        if self.int8 is None:
            return 'not told by the system'
        return ', '.join(self.int8) or 'none'


def processor(cpuinfo: Path = CPUINFO, machine: str | None = None) -> Processor:
    """This one.

    Args:
        cpuinfo: Linux's file of it.
        machine: Its kind; None: the system's word.
    """
    machine = machine or platform.machine()
    x86 = machine.lower() in _X86
    try:
        text = cpuinfo.read_text(encoding='utf-8', errors='replace')
    except OSError:
        return Processor(None, x86)
    flags = re.search(r'^(?:flags|Features)\s*:(.*)$', text, re.MULTILINE)
    found = tuple(one for one in _INT8 if one in (flags[1].split() if flags else ()))
    return Processor(found if flags else None, x86 and not any('vnni' in one for one in found))
