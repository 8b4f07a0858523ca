"""The training step: formats, packing, the loop, checkpoints; stages in order, one adapter carried through."""
