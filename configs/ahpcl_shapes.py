# Rendered shapes, whose true hierarchy is known, on a CPU in some minutes.
_base_ = '_base_/scales/shapes.py'
_base_.pop('data')
