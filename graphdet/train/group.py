"""The processes of a run: one, or those that torchrun started."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

from graphdet.errors import BadRecipe


@dataclass(frozen=True)
class Group:
    """rank: number of this process · world: how many there are · device: what it computes on."""

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, in the order of ranks."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        distributed.all_gather_object(values, value)
        return values

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        if self.world == 1:
            return flag
        found = torch.tensor(float(flag), device=self.device)
        distributed.all_reduce(found, distributed.ReduceOp.MAX)
        return bool(found)

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        """The mean of each number over all processes."""
        if self.world == 1:
            return dict(values)
        total = torch.tensor(list(values.values()), dtype=torch.float32, device=self.device)
        distributed.all_reduce(total)
        return dict(zip(values, (total / self.world).tolist(), strict=True))

    def wait(self) -> None:
        """Until all processes are here."""
        if self.world > 1:
            distributed.barrier()


@contextmanager
def joined_group(device: str) -> Iterator[Group]:
    """The group that the environment of torchrun describes, or this process alone.

    NCCL on GPUs, gloo on CPUs. A process that waits for another for half an hour gives up.

    Raises BadRecipe for a device that is not there.
    """
    if device not in ("", "cpu", "cuda"):
        raise BadRecipe(f"device {device!r} is unknown", help="cpu or cuda")
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise BadRecipe("PyTorch finds no GPU", help="--set device=cpu, or install a build of PyTorch with CUDA")
    kind = device or ("cuda" if there else "cpu")
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Group(device=torch.device(kind))
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    chosen = torch.device(kind, local) if kind == "cuda" else torch.device("cpu")
    if kind == "cuda":
        torch.cuda.set_device(chosen)
    distributed.init_process_group("nccl" if kind == "cuda" else "gloo", timeout=timedelta(minutes=30))
    try:
        yield Group(distributed.get_rank(), world, chosen)
    finally:
        distributed.destroy_process_group()
