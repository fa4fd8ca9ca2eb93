"""A believable past of the example shop, made up from a seed: what a new installation is looked at with.

Plain: moments in, reports out. `runs.actions.samples` sends them the way every report goes.
"""

from runs.sample.history import DAYS, SEED, Lifted, Quarantined, SampleReport, Step, history

__all__ = ["DAYS", "SEED", "Lifted", "Quarantined", "SampleReport", "Step", "history"]
