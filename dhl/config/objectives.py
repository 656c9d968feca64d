"""What a training step minimises; one objective a file, so that editing one retrains only its own.

An objective is a class with `losses(images, targets, generator)`: a dict of scalar tensors in which
`loss` is what is minimised. `OBJECTIVES` names the module of each.
"""

OBJECTIVES = {
    "denoise": "dhl.training.objective_denoise",
    "task": "dhl.training.objective_task",
    "joint": "dhl.training.objective_joint",
}
