# The demo: scikit-learn's digits on a CPU in a few minutes.
_base_ = '_base_/scales/digits.py'
_base_.pop('data')
