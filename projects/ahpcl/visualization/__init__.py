"""Figures and reports of a run; matplotlib is asked for when one is drawn."""

from .figure_hook import FigureHook
from .run_log import EpochRow, RunLog

__all__ = ['EpochRow', 'FigureHook', 'RunLog']
