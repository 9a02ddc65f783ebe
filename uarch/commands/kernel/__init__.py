"""``uarch kernel``: one module a kind of kernel."""

from uarch.commands.kernel.gemm import register as register
from uarch.commands.sections import Section

SECTION = Section.SIMULATE
