"""InfoNCE, ProtoNCE, label smoothing and the selection of negatives."""
