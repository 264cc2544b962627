"""A registry copied to another MLflow: runs, logged models, versions, history.

MLflow gives each run and each logged model an id by chance, so the copies have others. What refers
to one is turned to the copy's: the source of a version, its run, the models of a metric. What else
Perdure writes names experiences, versions and keys, which stay. `MLmodel` names the run and the
model that it was logged as; it is copied as it is, for the digests of a version cover it, and no
command reads these two.

```
marks at the target
  registered model   perdure.copying       from which registry, as long as the copy is unfinished
                     perdure.copied_from   the same, of one that is whole
  run, logged model  perdure.copy_of       the id that it has at the source
  run                perdure.unfinished    not everything of it is there yet
  version            perdure.created       when it was registered at the source
                     perdure.placeholder   stands for a number that the source gave once
```

The registered model with its mark comes first, aliases come last, and nothing is finished before it
was read back and compared. So a copy that is killed anywhere is seen to be unfinished, by Perdure's
commands too, and the next call goes on with it.
"""

from perdure.tasks.registry.migrating.migration import Migration, Plan

__all__ = ["Migration", "Plan"]
