"""``uarch kernel``: one module a kind of kernel."""

from uarch.commands.kernel.gemm import register as register
