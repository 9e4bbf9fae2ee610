"""All that can be asked of a host over its control socket, in one table."""

from __future__ import annotations

from supervisor_tree.control.apply_verbs import ApplyVerbs
from supervisor_tree.control.build_verbs import BuildVerbs
from supervisor_tree.control.bus_verbs import BusVerbs
from supervisor_tree.control.data_verbs import DataVerbs
from supervisor_tree.control.diagnosis_verbs import DiagnosisVerbs
from supervisor_tree.control.holds import HoldVerbs
from supervisor_tree.control.operations import Operations
from supervisor_tree.runtime.applier import Applier
from supervisor_tree.runtime.buskeeper import BusKeeper
from supervisor_tree.runtime.desk import Desk
from supervisor_tree.runtime.diagnosis import Diagnosis

__all__ = ["operations_of"]


def operations_of(
    desk: Desk, keeper: BusKeeper, diagnosis: Diagnosis, applier: Applier
) -> Operations:
    """The verbs over the parts of one host that answer them."""
    more = BusVerbs(keeper).verbs | DiagnosisVerbs(diagnosis).verbs | HoldVerbs(desk).verbs
    more |= ApplyVerbs(applier).verbs | DataVerbs(desk).verbs | BuildVerbs(desk).verbs
    return Operations(desk, more)
