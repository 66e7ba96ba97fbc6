"""Submitted work: results, the bounded queue, errors, closing, and an interrupt."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, wait
from pathlib import Path

import numpy as np
import pytest

from graphdet.errors import BadImage, BadInput, EngineClosed, InternalError
from graphdet.records import Array
from graphdet.runtime import Engine
from graphdet.runtime import adapters as adapters_module
from graphdet.runtime import engine as engine_module
from tests.runtime.tiny import artefact

pytest.importorskip("graphdet.runtime._C", reason="the kernel extension is not built")

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60  # seconds


def photo(peak: int = 255) -> Array:
    return np.full((48, 64, 3), peak, np.uint8)


class Gated:
    """A segment that waits for its gate, and counts how many runs it has begun."""

    def __init__(self, inner: adapters_module.Segment) -> None:
        self.inner, self.gate, self.begun = inner, threading.Event(), threading.Semaphore(0)
        self.failure: BaseException | None = None

    def run(self, inputs: dict[str, Array]) -> list[Array]:
        """Run when the gate is open, or fail."""
        self.begun.release()
        assert self.gate.wait(PATIENCE)
        if self.failure is not None:
            raise self.failure
        return self.inner.run(inputs)

    def clone(self) -> Gated:
        """Itself."""
        return self


@pytest.fixture
def gated(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gated]:
    """The segment of each engine that the test opens; the gate opens at the end of the test."""
    made = artefact(target="onnxruntime")
    segment = Gated(adapters_module.open_segment("onnxruntime", made.blob("segment:dense0")))
    monkeypatch.setattr(engine_module, "open_segment", lambda *_, **__: segment)
    yield segment
    segment.gate.set()


@pytest.mark.parametrize("workers", [1, 3])
def test_results_equal_those_of_calls(workers: int) -> None:
    peaks = range(60, 256, 13)
    with Engine(artefact(), workers=workers, queue=2) as engine:
        futures = [engine.submit([photo(peak), photo(0)], score=0.2, order="rgb") for peak in peaks]
        for peak, future in zip(peaks, futures, strict=True):
            expected = engine([photo(peak), photo(0)], score=0.2, order="rgb")
            for one, other in zip(future.result(PATIENCE), expected, strict=True):
                assert np.array_equal(one.boxes, other.boxes)
                assert np.array_equal(one.scores, other.scores)
                assert one.size == other.size == (48, 64)
        assert engine.submit([]).result(PATIENCE) == []


def test_awaitable() -> None:
    async def both(engine: Engine) -> list[int]:
        futures = [asyncio.wrap_future(engine.submit(photo(peak))) for peak in (255, 0)]
        return [len(found[0]) for found in await asyncio.gather(*futures)]

    with Engine(artefact()) as engine:
        assert asyncio.run(both(engine)) == [2, 0]


def test_errors_come_to_the_caller() -> None:
    with Engine(artefact()) as engine:
        with pytest.raises(BadInput, match="score_threshold is 2"):
            engine.submit(photo(), score=2.0).result(PATIENCE)
        with pytest.raises(BadImage, match="image 1 "):
            engine.submit([photo(), np.zeros((4, 4))])
        assert len(engine.submit(photo()).result(PATIENCE)[0]) == 2


def test_a_failing_segment(gated: Gated) -> None:
    gated.failure = ValueError("no such thing")
    gated.gate.set()
    engine = Engine(artefact())
    for submitted in (True, False):
        with pytest.raises(InternalError, match=r"segment dense0 failed on f32\[1 3 64 64\].*no such thing") as caught:
            engine.submit(photo()).result(PATIENCE) if submitted else engine(photo())
        assert isinstance(caught.value.__cause__, ValueError)
    gated.failure = BadInput("as it is")
    with pytest.raises(BadInput, match="as it is"):
        engine(photo())
    gated.failure = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        engine(photo())
    gated.failure = None
    assert len(engine(photo())[0]) == 2


def test_the_queue_is_bounded_and_close_cancels_what_waits(gated: Gated) -> None:
    engine = Engine(artefact(), queue=2)
    futures = [engine.submit(photo()) for _ in range(2)]
    assert gated.begun.acquire(timeout=PATIENCE)
    futures.append(engine.submit(photo()))  # one runs, two wait
    late: list[Future[object]] = []
    refused: list[EngineClosed] = []

    def submit() -> None:
        try:
            late.append(engine.submit(photo()))  # type: ignore[arg-type]
        except EngineClosed as error:
            refused.append(error)

    submitter = threading.Thread(target=submit)
    submitter.start()
    submitter.join(0.3)
    assert submitter.is_alive()  # there is no room
    closer = threading.Thread(target=engine.close)
    closer.start()
    submitter.join(PATIENCE)
    assert (len(late), len(refused)) == (0, 1)
    wait(futures[1:], PATIENCE)
    assert [future.cancelled() for future in futures] == [False, True, True]
    with pytest.raises(CancelledError):
        futures[1].result(PATIENCE)
    gated.gate.set()
    closer.join(PATIENCE)
    assert len(futures[0].result(PATIENCE)[0]) == 2
    with pytest.raises(EngineClosed):
        engine.submit(photo())
    assert len(engine(photo())[0]) == 2


def test_a_future_can_be_cancelled_until_its_turn(gated: Gated) -> None:
    engine = Engine(artefact())
    first, second = engine.submit(photo()), engine.submit(photo())
    assert gated.begun.acquire(timeout=PATIENCE)
    assert not first.cancel()
    assert second.cancel()
    gated.gate.set()
    assert len(first.result(PATIENCE)[0]) == 2
    engine.close()
    assert not gated.begun.acquire(blocking=False)


def test_an_engine_may_go_while_work_runs(gated: Gated) -> None:
    engine = Engine(artefact())
    future = engine.submit(photo())
    assert gated.begun.acquire(timeout=PATIENCE)
    threading.Timer(0.2, gated.gate.set).start()
    del engine
    assert len(future.result(PATIENCE)[0]) == 2


def test_the_last_reference_may_go_in_a_callback() -> None:
    holder = [Engine(artefact())]
    done = threading.Event()

    def drop(_: object) -> None:
        holder.clear()
        done.set()

    holder[0].submit(photo()).add_done_callback(drop)
    assert done.wait(PATIENCE)


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
@pytest.mark.parametrize("at", ["result", "submit"])
def test_an_interrupt_ends_the_program(at: str) -> None:
    """Ctrl-C while the queue is full of slow work: what runs is finished, what waits is not begun."""
    code = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
import numpy as np
from graphdet.runtime import Engine, adapters, engine as module
from tests.runtime.tiny import artefact
inner = adapters.open_segment("onnxruntime", artefact(target="onnxruntime").blob("segment:dense0"))
class Slow:
    def run(self, inputs):
        print("run", flush=True)
        time.sleep(1)
        return inner.run(inputs)
    def clone(self):
        return self
module.open_segment = lambda *_, **__: Slow()
engine = Engine(artefact(), queue=50 if {at!r} == "result" else 1)
futures = [engine.submit(np.zeros((8, 8, 3), np.uint8)) for _ in range(40)]
futures[-1].result()
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "run\n"
    time.sleep(0.3)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=20)
    assert err.strip().endswith("KeyboardInterrupt")
    assert out.count("run") <= 3
    assert child.returncode == -signal.SIGINT
