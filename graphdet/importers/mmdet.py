"""MMDetection checkpoints: the weights of `state_dict` and the facts of `meta`; the optimiser's state is left alone.

Averaged weights. A model trained with a moving average (YOLOX, RTMDet) is saved with both sets. Both generations of
the training hook exchange the two before they save: the plain names hold the *averaged* weights, which the published
numbers belong to, and the raw weights lie under `ema_<name with dots as underscores>` (2.x) or in `ema_state_dict`
(3.x).
"""

from __future__ import annotations

import json
import os
from collections import Counter
from typing import Any

from graphdet.errors import BadWeights
from graphdet.importers.torch_names import TensorRecord
from graphdet.importers.torch_pickle import Checkpoint, open_torch
from graphdet.importers.weights import Weights, read_file

_FACTS = ("mmdet_version", "mmcv_version", "mmengine_version", "epoch", "iter", "seed", "time")
_CONTAINERS = ("state_dict", "model")


def read_mmdet(path: str | os.PathLike[str], *, averaged: bool = True) -> Weights:
    """Read a checkpoint, or a bare dict of tensors, saved by PyTorch.

    averaged: take the moving average where the file holds both (see the module); False takes the raw training weights.
    Raises MissingFile, BadWeights (damaged, or no dict of tensors) and HostilePickle (anything but plain data in it).
    """
    data, meta = read_file(path)
    return parse_mmdet(data, meta, averaged=averaged)


def parse_mmdet(data: bytes, meta: dict[str, str], *, averaged: bool = True) -> Weights:
    """`read_mmdet` for a file's bytes; `meta` holds its `source`, as `read_file` returns it."""
    checkpoint = open_torch(data, meta["source"])
    content = checkpoint.content
    records = _records(content, meta["source"])
    shadows = {n: r for n, r in records.items() if n.startswith("ema_") and "." not in n}
    plain = {n: r for n, r in records.items() if n not in shadows}
    twins = _twins(plain, shadows, content)
    if not averaged:
        plain.update(twins)
    stray = shadows.keys() - {_shadow(n) for n in plain}
    plain.update({n: shadows[n] for n in sorted(stray)})  # merely named so: shown as surplus when the names are matched
    facts = {**meta, **_facts(content), "format": "pytorch"}
    if twins:
        facts["averaged"] = str(averaged).lower()
    return Weights(_arrays(checkpoint, plain), facts)


def _records(content: object, source: str) -> dict[str, TensorRecord]:
    """The dict of tensors of a checkpoint, wherever it lies."""
    if not isinstance(content, dict):
        raise BadWeights(f"{source} holds no dict of tensors", help="save model.state_dict(), not the model")
    inner = next((content[key] for key in _CONTAINERS if type(content.get(key)) is dict), content)
    wrong = next((n for n, v in inner.items() if not (isinstance(n, str) and isinstance(v, TensorRecord))), None)
    if wrong is not None:
        keys = ", ".join(str(key)[:40] for key in list(inner)[:8])
        raise BadWeights(
            f"{source}: entry {str(wrong)[:80]!r} of the weights is no tensor (entries: {keys})",
            help="the weights are expected under 'state_dict', under 'model', or as a bare dict of tensors",
        )
    return dict(inner)


def _arrays(checkpoint: Checkpoint, records: dict[str, TensorRecord]) -> dict[str, Any]:
    return {name: checkpoint.array(name, record) for name, record in records.items()}


def _shadow(name: str) -> str:
    return "ema_" + name.replace(".", "_")


def _twins(
    plain: dict[str, TensorRecord], shadows: dict[str, TensorRecord], content: dict[str, Any]
) -> dict[str, TensorRecord]:
    """The raw training weights by plain name, for the tensors that have them."""
    claims = Counter(_shadow(n) for n in plain)
    clash = next((n for n in shadows if claims[n] > 1), None)
    if clash is not None:
        raise BadWeights(f"two parameters share the averaging name {clash!r}")
    twins = {n: shadows[_shadow(n)] for n in plain if _shadow(n) in shadows}
    other = content.get("ema_state_dict")
    for name, record in other.items() if type(other) is dict else ():
        target = str(name).removeprefix("module.")
        if target in plain and isinstance(record, TensorRecord):
            twins[target] = record
    return twins


def _facts(content: dict[str, Any]) -> dict[str, str]:
    """Scalars of `meta` as text; lists of class names as JSON; the config as it is written."""
    meta = content.get("meta")
    if type(meta) is not dict:
        return {}
    facts = {key: str(meta[key]) for key in _FACTS if type(meta.get(key)) in (str, int, float)}
    config = meta.get("config", meta.get("cfg"))
    if type(config) is str:
        facts["config"] = config
    dataset = meta.get("dataset_meta")
    for holder in (meta, dataset if type(dataset) is dict else {}):
        for key in ("CLASSES", "classes"):
            names = holder.get(key, ())
            if isinstance(names, tuple | list) and names and all(type(n) is str for n in names):
                facts["classes"] = json.dumps(list(names), ensure_ascii=False)
    return facts
