"""Runs over a cluster: handed in with what they wait for, taken as they end, and given to another worker where one was lost."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Sequence
from typing import Any

from unlabeled.console.progress import RunProgress
from unlabeled.errors import ProcessKilled
from unlabeled.experiments.clusters import Engine, Lost, open_engine
from unlabeled.experiments.errands import Errand, place_of
from unlabeled.experiments.lab import Lab
from unlabeled.experiments.machine import remember_worker
from unlabeled.experiments.performing import outcome_of
from unlabeled.experiments.tasks import Task
from unlabeled.outcomes import Outcome

_MOST_LOST = 3  # workers that one run may cost

Waiting = Sequence[tuple[str, str, Task]]
_engines: dict[tuple[str, str], Engine] = {}


def engine_of(lab: Lab) -> Engine | None:
    """Return the cluster that computes a lab's runs, connected to once; None where this machine does.

    It does so too where no other machine can make the images: those of a script, and a study's own parts.
    """
    name = lab.config.cluster
    if name == "local" or "part" in lab.splits.origin or lab.config.source == "python":
        return None
    key = (name, str(lab.folder) if name.startswith("slurm") else "")
    if key not in _engines:
        engine = _engines[key] = open_engine(name, lab.folder)
        atexit.register(engine.close)
    return _engines[key]


def run_on(
    engine: Engine, lab: Lab, waiting: Waiting, progress: RunProgress, say: Callable[[Outcome], str]
) -> dict[str, Outcome]:
    """Perform runs over a cluster, and return their outcomes by name; runs that they wait for are done with them.

    Raises
    ------
    ProcessKilled
        If one run cost more workers than are likely to have died by chance.
    """
    return _Round(engine, lab, waiting, progress, say).run()


class _Round:
    """The runs of one stage."""

    def __init__(
        self, engine: Engine, lab: Lab, waiting: Waiting, progress: RunProgress, say: Callable[[Outcome], str]
    ) -> None:
        self.engine, self.lab, self.progress, self.say = engine, lab, progress, say
        self.place, self.slots = place_of(lab), engine.slots()
        self.asked = {name: (label, task) for name, label, task in waiting}
        self.handles: dict[str, Any] = {}
        self.names: dict[int, str] = {}
        self.lost: dict[str, int] = {}
        self.extra: dict[str, tuple[str, Task]] = {}

    def run(self) -> dict[str, Outcome]:
        """Hand all in, and take what comes out."""
        for name, (_, task) in list(self.asked.items()):
            self._submit(name, task)
        everything = self.extra | self.asked
        self.progress.plan((task.kind for _, task in everything.values()), workers=sum(self.slots.values()))
        results: dict[str, Outcome] = {}
        left = set(self.handles)
        try:
            while left:
                for handle, found in self.engine.ended([self.handles[name] for name in left]):
                    name = self.names[id(handle)]
                    if isinstance(found, Lost):
                        self._again(name, everything[name], found)
                        continue
                    left.discard(name)
                    label, task = everything[name]
                    self.progress.start(name, task.kind, label)
                    self.progress.done(name, self.say(found.outcome), found.seconds)
                    remember_worker(hash(found.worker), found.peak, among=sum(self.slots.values()))
                    results[name] = found.outcome
        finally:
            self.engine.cancel([self.handles[name] for name in left])
        return {name: outcome for name, outcome in results.items() if name in self.asked}

    def _submit(self, name: str, task: Task) -> Any:
        """Hand in a run after those that it needs, each once."""
        if name in self.handles:
            return self.handles[name]
        after = []
        for other in task.needs if self.engine.graph else ():
            run = other.key(self.lab)
            if outcome_of(run) is None:
                self.extra.setdefault(
                    str(run.folder), (f"{getattr(other, 'title', other.arm)}, seed {other.seed}", other)
                )
                after.append(self._submit(str(run.folder), other))
        self._hand_in(name, task, after)
        return self.handles[name]

    def _hand_in(self, name: str, task: Task, after: Sequence[Any]) -> None:
        handle = self.engine.submit(Errand(self.place, task, task.key(self.lab).folder.name, self.slots), after)
        self.handles[name] = handle
        self.names[id(handle)] = name

    def _again(self, name: str, entry: tuple[str, Task], lost: Lost) -> None:
        """Give a run to another worker."""
        label, task = entry
        self.lost[name] = self.lost.get(name, 0) + 1
        total = sum(self.lost.values())
        if self.lost[name] > _MOST_LOST:
            raise ProcessKilled(
                f"{label}: its worker was ended {self.lost[name]} times ({lost.reason}), most often because memory ran out; give workers "
                "more memory, or take smaller images; what was finished is kept"
            )
        self.progress.note(f"{label}: its worker was lost, and another begins it again ({total} lost so far)")
        # What it needed has ended, or was lost too and is done by whoever comes first.
        self._hand_in(name, task, ())
