"""The PyTorch backend: a plain module with the graph's names that trains, casts, compiles and copies like others."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from graphdet import ops, zoo
from graphdet.compiler.backends.target import find_target
from graphdet.errors import BadWeights
from graphdet.ir import Graph, constant, parameter, scope, tensor, trace, tracing
from graphdet.ir.initial import initial_values
from graphdet.ir.trace import graph_input
from graphdet.runtime.adapters import open_segment

torch = pytest.importorskip("torch")


def lower(graph: Graph, **options: Any) -> Any:
    """The graph as a module with its initial values."""
    from graphdet.compiler.backends.torch import to_module

    return to_module(graph, **options)


def batch(images: int = 2, side: int = 64) -> dict[str, Any]:
    """Training inputs with one object an image; the second image has none."""
    rng = np.random.default_rng(0)
    boxes = np.zeros((images, 1, 4), np.float32)
    boxes[0, 0] = (8, 8, 40, 48)
    return {
        "pixels": torch.from_numpy(rng.normal(100, 50, (images, 3, side, side)).astype(np.float32)),
        "size": torch.full((images, 2), float(side)),
        "padded": torch.full((images, 2), float(side)),
        "truth_boxes": torch.from_numpy(boxes),
        "truth_labels": torch.zeros((images, 1), dtype=torch.int64),
        "truth_count": torch.tensor([1] + [0] * (images - 1)),
    }


def feed(graph: Graph, tensors: dict[str, Any]) -> dict[str, Any]:
    """Those tensors that the graph takes."""
    names = {name.replace(".", "_") for name in graph.inputs}
    return {k: v for k, v in tensors.items() if k in names}


@pytest.fixture(scope="module")
def training() -> Graph:
    return trace(zoo.get("yolox_scenes"), "train")


def test_state_dict_has_the_names_of_the_graph_and_round_trips(training: Graph) -> None:
    module, other = lower(training), lower(training, params=initial_values(training, seed=1))
    assert set(module.state_dict()) == set(training.params) != set()
    other.load_state_dict(module.state_dict(), strict=True)
    for name, value in module.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])


def test_one_step_changes_every_trainable_parameter_and_the_statistics(training: Graph) -> None:
    module = lower(training).train()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    optimiser = torch.optim.SGD(module.parameters(), lr=0.1)
    loss = sum(module(**feed(training, batch())).values())
    loss.backward()
    optimiser.step()
    same = {k for k, v in module.state_dict().items() if torch.equal(v, before[k])}
    heads = (
        "multi_level_cls_convs",
        "multi_level_conv_cls",
        "multi_level_conv_reg",
    )  # no object on some levels: no gradient there
    assert [k for k in same if not any(h in k for h in heads)] == []
    assert all(int(v) == 1 for k, v in module.state_dict().items() if k.endswith("num_batches_tracked"))


def test_losses_of_images_without_objects_are_finite(training: Graph) -> None:
    tensors = batch()
    tensors["truth_count"][:] = 0
    for empty in (
        tensors,
        {**tensors, "truth_boxes": torch.zeros(2, 0, 4), "truth_labels": torch.zeros(2, 0, dtype=torch.int64)},
    ):
        losses = lower(training).train()(**feed(training, empty))
        assert all(torch.isfinite(v) for v in losses.values())
        assert losses["loss_bbox"].item() == 0.0


def test_autocast_gives_nearly_the_same_losses(training: Graph) -> None:
    module = lower(training).train()
    exact = module(**feed(training, batch()))
    with torch.autocast("cpu", torch.bfloat16):
        rough = module(**feed(training, batch()))
    for name, value in exact.items():
        assert rough[name].item() == pytest.approx(value.item(), rel=0.3, abs=0.05)  # bf16 keeps 8 bits
    sum(rough.values()).backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in module.parameters())


def test_a_deep_copy_is_independent(training: Graph) -> None:
    module = lower(training)
    twin = copy.deepcopy(module)
    with torch.no_grad():
        next(twin.parameters()).add_(1)
    assert not torch.equal(next(twin.parameters()), next(module.parameters()))


def test_sizes_are_taken_from_the_inputs_of_each_call(training: Graph) -> None:
    module = lower(trace(zoo.get("yolox_scenes"), "infer")).eval()
    geometry = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    for side, rows in ((64, 84), (96, 189)):
        found = module(pixels=torch.zeros(1, 3, side, side), geometry=geometry)
        assert found["scores"].shape == (1, rows)
        assert int(found["count"]) == 0


def test_a_missing_parameter_is_named(training: Graph) -> None:
    with pytest.raises(BadWeights, match=r"backbone\.stem\.conv\.conv\.weight"):
        lower(training, params={})


def test_frozen_parameters_get_no_gradient() -> None:
    with tracing("frozen", "train") as opened:
        x = graph_input("x", tensor("f32", 2, 3))
        with scope("a"):
            fixed, free = parameter("fixed", 3, trainable=False), parameter("free", 3)
        y = ops.total(x * fixed * free + constant(np.ones(3, np.float32)))
    module = lower(opened.graph({"y": y}))
    module(x=torch.ones(2, 3))["y"].backward()
    flags = {name: p.requires_grad for name, p in module.named_parameters()}
    assert flags == {"a.fixed": False, "a.free": True}


@pytest.mark.parametrize("name", ["yolox_scenes", "retinanet_r50", "fcos_r50_caffe"])
def test_a_faster_module_has_the_same_losses_gradients_and_names(name: str) -> None:
    """In float64, where rounding cannot hide a wrong rewrite; each of the three kinds of rewrite is there."""
    from graphdet.compiler.backends.torch import faster
    from graphdet.compiler.backends.torch.speed import add_in_place, conv_stored_norm

    graph = trace(zoo.get(name), "train")
    values = initial_values(graph)
    plain, fast = lower(graph, params=values).double().train(), faster(lower(graph, params=values)).double().train()
    given = {k: v.double() if v.is_floating_point() else v for k, v in feed(graph, batch()).items()}
    terms, found = plain(**given), fast(**given)
    for result in (terms, found):
        sum(result.values()).backward()
    for key, value in terms.items():
        assert found[key].item() == pytest.approx(value.item(), rel=1e-9)
    gradients = {key: p.grad for key, p in plain.named_parameters()}
    assert [key for key, _ in fast.named_parameters()] == list(gradients)
    for key, p in fast.named_parameters():
        assert (p.grad is None) == (gradients[key] is None)
        if p.grad is not None:
            torch.testing.assert_close(p.grad, gradients[key], rtol=1e-6, atol=1e-9 * float(gradients[key].abs().max()))
    targets = {n.target for n in fast.graph.nodes}
    if name != "yolox_scenes":  # whose norms learn their statistics, and whose act is SiLU
        assert {torch.relu_, add_in_place, conv_stored_norm} <= targets


def test_a_result_with_two_readers_is_not_overwritten() -> None:
    from graphdet.compiler.backends.torch import faster

    with tracing("shared", "train") as opened:
        a, b = (graph_input(name, tensor("f32", 2, 3)) for name in "ab")
        mixed = a + b
        outputs = {"mixed": mixed, "positive": ops.relu(mixed), "more": mixed + a}
    module = faster(lower(opened.graph(outputs)))
    one, two = -torch.ones(2, 3), -torch.ones(2, 3)
    found = module(a=one, b=two)
    assert torch.equal(found["mixed"], torch.full((2, 3), -2.0))
    assert torch.equal(found["more"], torch.full((2, 3), -3.0))
    assert not found["positive"].any()
    assert torch.equal(one, -torch.ones(2, 3))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler warns of its graph breaks, at the assigner's sizes
def test_torch_compile_gives_the_same_losses(training: Graph) -> None:
    module = lower(training).eval()
    expected = module(**feed(training, batch()))
    found = torch.compile(module)(**feed(training, batch()))
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value.item(), rel=1e-3)


def test_no_output_of_a_segment_lies_in_an_input() -> None:
    """The engine uses an input's memory again, while outputs are still read."""
    with tracing("turned") as opened:
        given = graph_input("x", tensor("f32", 2, 3))
        graph = opened.graph({"y": ops.reshape(given, shape=(3, 2)), "z": ops.relu(given)})
    segment = open_segment("torch", find_target("torch").build(graph, {}))
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    y, z = segment.run({"x": x})
    x[:] = -1
    assert (y.ravel().tolist(), z.ravel().tolist()) == ([0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5])
