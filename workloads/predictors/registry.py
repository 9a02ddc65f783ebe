"""The predictors that come with the package, by name, and what each is good for."""

from __future__ import annotations

from typing import NamedTuple

from workloads.predictors.genz import genz
from workloads.predictors.kernel import Predictor
from workloads.predictors.lltile import lltile
from workloads.predictors.roofline import roofline
from workloads.predictors.scalesim_forms import scalesim


class Registered(NamedTuple):
    """A predictor, and whether its name is also a fidelity of whole phases."""

    predict: Predictor
    is_fidelity: bool = False
    """Whether it knows every kind of kernel of a phase, so that runs can use it in place of the engine."""


PREDICTORS = {
    "roofline": Registered(roofline),
    "scalesim": Registered(scalesim),
    "lltile": Registered(lltile, is_fidelity=True),
    "genz": Registered(genz),
}
"""All predictors: ``uarch bench-model --model`` takes their names, ``--fidelity`` those that are fidelities."""

FIDELITY_PREDICTORS = {name: each.predict for name, each in PREDICTORS.items() if each.is_fidelity}
"""Predictors that time whole phases, by the name of their fidelity."""
