"""Two processes with an image each learn what one process learns from both: losses and gradients of whole detectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from graphdet import zoo  # noqa: E402
from graphdet.compiler.backends.torch import to_module  # noqa: E402
from graphdet.ir import trace  # noqa: E402
from graphdet.ir.initial import initial_values  # noqa: E402
from graphdet.zoo.backbones.resnet import ResNet  # noqa: E402

pytestmark = pytest.mark.slow
# They divide by counts of priors; of samples; of queries; of samples whose pool holds the true boxes, and of masks.
DETECTORS = ("retinanet_r18", "rpn_r50", "detr_r50", "mask_rcnn_r50")
SIDE = 64


def inputs() -> dict[str, Any]:
    """Two images, one of them with a crowd; one object in the first, three in the second."""
    rng = np.random.default_rng(0)
    low = rng.uniform(2, 20, (2, 3, 2))
    boxes = np.concatenate([low, low + rng.uniform(16, 40, (2, 3, 2))], -1)
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    masks = [(x > b[0]) & (x < b[2]) & (y > b[1]) & (y < b[3]) for b in boxes.reshape(6, 4)]
    size = np.full((2, 2), SIDE)
    arrays = {"pixels": rng.standard_normal((2, 3, SIDE, SIDE)), "size": size, "padded": size, "truth_boxes": boxes}
    arrays |= {"truth_crowds": np.asarray([[[0, 0, 9, 9]], [[0, 0, 0, 0]]])}
    floats = {k: torch.from_numpy(v.astype(np.float32)) for k, v in arrays.items()}
    whole = {"truth_labels": np.asarray([[1, 0, 0], [2, 0, 1]]), "truth_count": np.asarray([1, 3])}
    whole |= {
        "truth_crowd_count": np.asarray([1, 0]),
        "truth_masks": np.asarray(masks, np.uint8).reshape(2, 3, SIDE, SIDE),
    }
    return floats | {k: torch.from_numpy(v) for k, v in whole.items()} | {"sampling_seed": torch.tensor(3.0)}


def learn(name: str, rows: slice) -> dict[str, Any]:
    """Losses, and the gradient of each parameter, from some of the images."""
    small = ResNet(18, fixed_norm=True) if name.startswith("detr") else ResNet(18)
    graph = trace(zoo.get(name).with_arguments(body=small), "train")
    module = to_module(graph, initial_values(graph, 1)).train().double()
    wanted = {n.replace(".", "_") for n in graph.inputs}
    given = {k: v[rows] if v.dim() else v for k, v in inputs().items() if k in wanted}
    given = {k: v.double() if v.is_floating_point() else v for k, v in given.items()}
    if name.startswith("detr"):
        given["sampling_seed"] *= 0  # nothing is dropped then: what is depends on the place in the batch
    terms = module(**given)
    torch.stack([v for v in terms.values()]).sum().backward()
    grads = {n: p.grad for n, p in module.named_parameters() if p.grad is not None}
    return {n: v.detach() for n, v in terms.items()} | grads


def one_of_two(rank: int, folder: str) -> None:
    """What a process does: its image, and the mean of both processes' results."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    for name in DETECTORS:
        found = learn(name, slice(rank, rank + 1))
        for value in found.values():
            torch.distributed.all_reduce(value)
        if rank == 0:
            torch.save({k: v / 2 for k, v in found.items()}, f"{folder}/{name}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def shared_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shares")
    torch.multiprocessing.spawn(one_of_two, (str(folder),), nprocs=2)
    return folder


@pytest.mark.parametrize("name", DETECTORS)
def test_two_processes_learn_what_one_does(name: str, shared_out: Path) -> None:
    both, one = torch.load(shared_out / f"{name}.pt"), learn(name, slice(0, 2))
    assert both.keys() == one.keys()
    assert len(one) > 20
    for key, value in one.items():
        off = float((both[key] - value).abs().max())
        assert off <= 1e-4 * max(float(value.abs().max()), 1e-3), f"{key} is off by {off}"
