"""The processes of a run: one, or those that torchrun started."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
from torch import distributed
from torch.distributed.rendezvous import rendezvous

from graphdet.errors import BadRecipe, LostProcess

_PLACE = re.compile(r"^\[[^]]*\] ")  # of PyTorch's sources


@dataclass(frozen=True)
class Group:
    """rank: number of this process · world: how many there are · device: what it computes on · board: of notes."""

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    board: Any = None  # a torch.distributed.Store

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

    def begin(self, step: int) -> None:
        """Let the others know that this process begins a step."""
        if self.board is not None:
            self.board.set(_note(self.rank), str(step))

    def lost(self) -> str:
        """Which step this process began last, and which others had not come as far."""
        try:
            steps = [self._begun(rank) for rank in range(self.world)]
        except RuntimeError:  # the host that keeps the board is gone too
            return f"process {self.rank} cannot ask how far the others are"
        mine = steps[self.rank]
        behind = [f"process {rank} had begun step {step}" for rank, step in enumerate(steps) if step < mine]
        place = f"in step {mine}" if mine else "before its first step"
        return ", ".join([f"process {self.rank} is {place}", "; ".join(behind) or "no other is behind it"])

    def _begun(self, rank: int) -> int:
        known = self.board is not None and self.board.check([_note(rank)])
        return int(self.board.get(_note(rank))) if known else 0


def _note(rank: int) -> str:
    return f"graphdet/begun/{rank}"


@contextmanager
def joined_group(device: str, patience: float = 30.0) -> Iterator[Group]:
    """The group that the environment of torchrun describes, or this process alone.

    NCCL on GPUs, gloo on CPUs. A process waits `patience` minutes for another.

    Raises BadRecipe for a device that is not there, LostProcess when another process hangs or has ended.
    """
    if device not in ("", "cpu", "cuda"):
        raise BadRecipe(f"device {device!r} is unknown", help="cpu or cuda")
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise BadRecipe("PyTorch finds no GPU", help="--set device=cpu, or install a build of PyTorch with CUDA")
    kind = device or ("cuda" if there else "cpu")
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Group(device=torch.device(kind))
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    chosen = torch.device(kind, local) if kind == "cuda" else torch.device("cpu")
    if kind == "cuda":
        torch.cuda.set_device(chosen)
    store, rank, world = next(rendezvous("env://"))
    limit = timedelta(minutes=patience)
    distributed.init_process_group(
        "nccl" if kind == "cuda" else "gloo", store=store, rank=rank, world_size=world, timeout=limit
    )
    group = Group(rank, world, chosen, store)
    try:
        yield group
    except RuntimeError as error:
        # Gloo has no exception of its own: its texts name the file of its sources.
        if not isinstance(error, distributed.DistError) and "gloo" not in str(error):
            raise
        raise LostProcess(
            f"another process hangs or has ended: {group.lost()} ({_PLACE.sub('', str(error))})",
            help="see what the others printed; --resume goes on from the last checkpoint; `patience` (minutes) sets "
            f"how long a process waits, {patience:g} now",
        ) from error
    finally:
        distributed.destroy_process_group()
