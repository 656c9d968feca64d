"""What a training step minimises; one objective a file, so that editing one retrains only its own.

An objective is a class with `losses(images, targets, generator)`: a dict of scalar tensors in which
`loss` is what is minimised. `OBJECTIVES` names the module of each.
"""

OBJECTIVES = {
    "denoise": "dhl.objectives.denoise",
    "task": "dhl.objectives.task",
    "joint": "dhl.objectives.joint",
}
