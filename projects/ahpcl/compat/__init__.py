"""The one place that knows the versions of mmselfsup, mmengine and mmcv.

Each fix in :data:`FIXES` patches one defect of one of these packages, names
its symptom and the thread about it, and switches itself off where the
package is healthy. :func:`apply_all` runs once, when ``ahpcl`` is imported;
:func:`status` says what it did.
"""

from __future__ import annotations

import warnings

from .quiet import import_transformers, quiet_imports

with quiet_imports():
    from . import (
        checkpoints,
        clustering,
        configs,
        distributed,
        frameworks,
        loaders,
        log_text,
        packages,
        photometric,
        registries,
        runners,
    )
    from .fix import Fix, Record, settle

__all__ = [
    'FIXES',
    'Fix',
    'Record',
    'apply_all',
    'import_transformers',
    'quiet_imports',
    'status',
]

FIXES: tuple[Fix, ...] = (
    packages.PKG_RESOURCES,
    configs.CONFIG_PATHS,
    configs.CONFIG_TEXT,
    checkpoints.PICKLED_CHECKPOINTS,
    photometric.HUE_WRAP,
    clustering.PCA_WHITENING,
    registries.RUNNER_REGISTRIES,
    frameworks.FORMER_SCOPES,
    loaders.SCOPED_FUNCTIONS,
    loaders.WORKERLESS_LOADERS,
    distributed.GLOO_WITHOUT_CUDA,
    distributed.PROCESS_GROUP_LEFT,
    distributed.DDP_DEVICE_IDS,
    distributed.SYNC_BATCH_NORM,
    runners.OWN_VISUALIZER,
    runners.OWN_TIMESTAMP,
    runners.CURRENT_RUNNER,
    log_text.LOG_TEXT,
)

_RECORDS: dict[str, Record] = {}


def apply_all() -> tuple[str, ...]:
    """Applies every fix that the installed packages need, once per process.

    Returns:
        Names of the fixes in force. A second call changes nothing and
        returns the same.
    """
    if not _RECORDS:
        problem = packages.duplicate_mmcv()
        if problem:
            warnings.warn(problem, stacklevel=2)
    for fix in FIXES:
        if fix.name not in _RECORDS:
            _RECORDS[fix.name] = settle(fix)
    return tuple(name for name, record in _RECORDS.items() if record.applied)


def status() -> tuple[Record, ...]:
    """Returns one record per fix that :func:`apply_all` has looked at."""
    return tuple(_RECORDS.values())
