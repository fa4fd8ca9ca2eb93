"""What several uploads of one run say of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from runs.models import Run

#: What all uploads of a run should say alike: it decides what the run is compared with.
_SHARED: Final = {"branch": "branch", "commit": "commit", "pull_request": "pull request"}
#: Tags, and facts of the environment, that a run has of all uploads together.
_PAIR_LIMIT: Final = 100


def add_facts(
    run: Run, *, told: Mapping[str, str], tags: Mapping[str, str], environment: Mapping[str, str]
) -> list[str]:
    """Take over what no upload of the run has said yet; return a sentence for what was said otherwise.

    `told` are the run's fields `branch`, `commit`, `pull_request`, `ci_url`. Needs the project locked.
    """
    changed: dict[str, object] = {}
    differences = []
    for name, said in told.items():
        known = str(getattr(run, name))
        is_longer = name == "commit" and said.startswith(known)  # one may tell it short, another whole
        is_shorter = name == "commit" and known.startswith(said)
        if said and (not known or (is_longer and said != known)):
            changed[name] = said
        elif said and said != known and not is_shorter and name in _SHARED:
            what = _SHARED[name]
            differences.append(
                f"It says that the {what} is {said}; an upload before said {known}, which holds."
            )
    for name, pairs in (("tags", tags), ("environment_facts", environment)):
        known_pairs: Mapping[str, str] = getattr(run, name)
        if pairs.keys() - known_pairs.keys() and len(known_pairs) < _PAIR_LIMIT:
            more = [(key, value) for key, value in pairs.items() if key not in known_pairs]
            changed[name] = dict([*known_pairs.items(), *more][:_PAIR_LIMIT])
    if changed:
        Run.objects.filter(pk=run.pk).update(**changed)
        for name, value in changed.items():
            setattr(run, name, value)
    return differences
