# AHPCL as the protocol has it; the other configs change one thing.
_base_ = 'scale/{{$AHPCL_SCALE:cpu}}.py'
