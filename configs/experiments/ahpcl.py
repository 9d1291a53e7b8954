# AHPCL as the protocol has it; the variants of plan.yml change one thing.
_base_ = '../_base_/scales/{{$AHPCL_SCALE:../../experiments/scale/cpu}}.py'
_base_.pop('data')
