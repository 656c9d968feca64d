"""The keys in docs/configuration.md, by the models: `python tests/configuration_reference.py`."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic.fields import FieldInfo

from dhl.config import data
from dhl.config import data_sets as kinds
from dhl.config import image_data_sets as pictures
from dhl.config import recipes as training
from dhl.config import schema as config
from dhl.config.base import Frozen
from dhl.config.method_lists import Methods
from dhl.config.networks import Network, Networks
from dhl.config.sensitivity import Sensitivity

# Where a model stands in the configuration; every model is here.
PLACES: dict[str, tuple[type[Frozen], ...]] = {
    "The top": (config.Config,),
    "`data`": (data.Data,),
    "`data.<part>`, by `kind`": (
        kinds.PhotoDigits, kinds.Folder, pictures.Pictures, pictures.ClassifiedPictures,
        pictures.Imagenette, pictures.Ilsvrc2012, pictures.ImageFolder, pictures.Voc2012,
        pictures.Voc, kinds.OwnData,
    ),
    "`sigmas`": (config.Sigmas,),
    "`methods`": (Methods,),
    "`networks`": (Networks, Network),
    "`training`": (
        training.DenoiserTraining, training.Training, training.PerTask, training.JointPerTask,
    ),
    "Recipes": (
        training.Recipe, training.WarmStart, training.JointRecipe, training.Optimizer,
        training.Schedule,
    ),
    "`evaluation`": (config.Evaluation, config.Shards),
    "`sensitivity`": (Sensitivity,),
    "`statistics`": (config.Statistics,),
}  # fmt: skip

# What the models' docstrings do not say key by key.
MEANINGS = yaml.safe_load("""
Config:
  run: name of the run, and of its folder below `results/`
  base_seed: every draw is derived from it
  seeds: how often every denoiser and every retrained network is trained
  device: where networks run, such as `cpu`, `mps` or `cuda:1`; `auto` is a GPU where there is one
  precision: number format of training; `auto` is bfloat16 where the hardware multiplies it
  threads: CPU threads of one process
  workers: processes that decode images for one training
  jobs_per_gpu: jobs that share a GPU
  retries: >-
    how often a failed training, CBM3D job or evaluation is repeated before the run goes on
    without its result
  compile: whether `torch.compile` fuses a training step
  noise: "`gaussian`, or your own code"
  data: where the images come from
  sigmas: noise levels
  methods: rows of the tables
  networks: networks by name
  training: "recipes; `preset: authors` or `preset: paper` fills in what is left out"
  evaluation: how methods are measured
  sensitivity: what is varied beyond the paper
  statistics: intervals and verdicts
Data:
  denoising: images of Table 1
  classification: images of Table 2
  segmentation: images of Table 3
PhotoDigits:
  kind: the embedded data set
  train: images to train on
  validation: images to choose settings on; no result comes from them
  test: images to measure on
  size: side in pixels
  contrast: of the digits against the photograph
Folder:
  kind: folders of images, for denoising alone
  name: &name goes into the seeds of the test noise and into the report
  train: folder to train on, or `bsds500` or `kodak`, which are downloaded
  test: folder to measure on, or one of the same words
Imagenette: {kind: ten classes of ImageNet, size: short side of the downloaded files}
Ilsvrc2012: {kind: "ImageNet's challenge of 2012"}
ImageFolder: {kind: your own images, name: *name}
Voc2012: {kind: PASCAL VOC 2012, extra: "`sbd` adds the images of SBD to train on"}
Voc: {kind: your own images and label maps, name: *name}
Sigmas: {denoising: of Table 1, classification: of Table 2, segmentation: of Table 3}
Methods:
  denoising: rows of Table 1
  classification: rows of Table 2
  segmentation: rows of Table 3
Networks:
  denoiser: what the paper proposes
  dncnn: the learned peer of Table 1
  classifier: the task network of classification
  segmenter: the task network of segmentation
DenoiserTraining:
  warm_start: >-
    one denoiser over a range of sigmas, from which each sigma's one starts; null trains each from
    scratch
  separate: the denoiser for the MSE alone, of each sigma
Training:
  dncnn: the same for DnCNN; null trains it as the denoiser
  task: the task networks, on clean images
  joint: the denoiser with the task's loss; `separate-matched` follows it
  retrained: the task networks, on noisy images
PerTask: &task {classification: of the classifier, segmentation: of the segmenter}
JointPerTask: *task
Recipe:
  steps: optimizer steps
  batch: images in a step
  patch: side of random crops in pixels; null takes whole images
  augment: "`dihedral`: flips and quarter turns; `mirror`: flips left and right"
  optimizer: how weights move
  schedule: how the learning rate moves
  clip_norm: the largest norm of the gradients, of the loss times `loss_scale`; null for none
  loss_scale: multiplies the whole loss
  checkpoint_every: steps after which the state is kept
WarmStart: {sigma_low: lowest sigma that is drawn, sigma_high: highest sigma that is drawn}
JointRecipe: {task_weight: the paper's lambda}
Optimizer:
  name: kind
  lr: learning rate
  momentum: of SGD alone
  weight_decay: pulls weights to zero
  last_layer_lr: multiplies the rate of the last layer
  bias_lr: multiplies the rate of biases
  bias_decay: multiplies the weight decay of biases
Schedule:
  name: kind; `one-cycle` rises for the share `warmup` of the steps and falls as a cosine
  every: steps after which `step` multiplies the rate by `gamma`
  gamma: of `step`
  power: of `poly`
  warmup: of `one-cycle`, a share of the steps
Shards:
  denoising: &jobs jobs for each sigma of each method that is not trained here
  classification: *jobs
  segmentation: *jobs
Statistics:
  bootstrap: resamples of the test images
  confidence: of intervals and verdicts
  margin_accuracy: how far below counts as nearly as good, top-1 as a fraction
  margin_miou: how far below counts as nearly as good, mIoU as a fraction
""")
# What a validator adds or limits.
DEFAULTS = {("OwnData", "name"): "the function's"}
RANGES = {
    ("Statistics", key): f"above 0, below {config.WIDEST_MARGIN:g}"
    for key in ("margin_accuracy", "margin_miou")
}
BOUNDS = {"ge": "from {}", "gt": "above {}", "le": "to {}", "lt": "below {}"}


def reference() -> str:
    """Return the tables of all keys."""
    sections = []
    for place, models in PLACES.items():
        sections.append(f"### {place}")
        sections += [table(model, named=len(models) > 1) for model in models]
    return "\n\n".join(sections)


def table(model: type[Frozen], *, named: bool) -> str:
    """Return a model's own keys, each with type, default, range and meaning."""
    described = dict(attributes(model)) | MEANINGS.get(model.__name__, {})
    lines = [f"{title(model)}:\n"] if named else []
    lines += ["| key | type | default | range | meaning |", "| --- | --- | --- | --- | --- |"]
    for key, field in own_fields(model).items():
        kind = Annotated[field.annotation, FieldInfo(), *field.metadata]
        limits = RANGES.get((model.__name__, key)) or ", ".join(bounds(kind))
        left_out = DEFAULTS.get((model.__name__, key)) or default(field)
        cells = (f"`{key}`", spell(kind), left_out, limits, described[key])
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def own_fields(model: type[Frozen]) -> dict[str, FieldInfo]:
    """Return the fields that a model does not have from a model that is a table of its own."""
    return {key: field for key, field in model.model_fields.items() if key in model.__annotations__}


def title(model: type[Frozen]) -> str:
    """Return what a model is called on the page, and whose keys it has besides."""
    name = f"**{model.__name__}**"
    if issubclass(model, kinds.DataSet) and "kind" in model.__annotations__:
        kind = get_args(model.model_fields["kind"].annotation)
        name = f"`kind: {kind[0]}`" if kind else "`kind: path/to/file.py:function`"
    parents = {parent for models in PLACES.values() for parent in models} & {*model.__bases__}
    return name + "".join(f", with the keys of **{parent.__name__}**" for parent in parents)


def attributes(model: type[Frozen]) -> Iterator[tuple[str, str]]:
    """Read the section `Attributes` of a model and of what it inherits from."""
    for parent in reversed(model.__mro__):
        text = inspect.cleandoc(parent.__dict__.get("__doc__") or "")
        section = text.partition("Attributes\n----------\n")[2]
        for names, meaning in re.findall(r"^(\w.*?)(?: :.*)?\n((?:    .*\n?)*)", section, re.M):
            for name in names.split(", "):
                words = " ".join(meaning.split()).rstrip(".").replace("None", "null")
                yield name, words[:1].lower() + words[1:]


def spell(kind: Any) -> str:
    """Return a type in the words of somebody who writes YAML."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return spell(inner[0])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin in (Union, types.UnionType):
        models = [one for one in inner if one is not type(None)]
        spelt = list(dict.fromkeys(spell(one) for one in models))
        return ", ".join(spelt) + (" or null" if type(None) in inner else "")
    if origin is tuple:
        return f"list of {spell(inner[0])}"
    if origin is dict:
        return f"{spell(inner[1])} by name" if inner[1] is not Any else "mapping"
    if inspect.isclass(kind) and issubclass(kind, kinds.DataSet):
        return "see its kinds"
    if inspect.isclass(kind) and issubclass(kind, Frozen):
        return kind.__name__
    return {int: "whole number", float: "number", str: "text", bool: "true or false"}[kind]


def bounds(kind: Any) -> Iterator[str]:
    """List the limits of a type, those of the values inside a list included."""
    for inner in get_args(kind):
        if isinstance(inner, FieldInfo):
            yield from (text for one in inner.metadata for text in limit(one))
        elif get_origin(inner) is not Literal and not isinstance(inner, str):
            yield from limit(inner)
            yield from bounds(inner)


def limit(constraint: Any) -> Iterator[str]:
    """Return what one constraint demands, if it is one."""
    for name, text in BOUNDS.items():
        if (value := getattr(constraint, name, None)) is not None:
            yield text.format(f"{value:g}")
    if getattr(constraint, "min_length", None):
        yield "not empty"


def default(field: FieldInfo) -> str:
    """Return what a key is when it is left out."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Frozen):
        value = value.model_dump(mode="json", exclude_unset=True)
        if not value:
            return "its defaults"
    value = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump(value, default_flow_style=True, width=1000).split("\n")[0]
    return f"`{text}`"


if __name__ == "__main__":
    print(reference())
