"""Figures and reports of a run; matplotlib is asked for when one is drawn."""
