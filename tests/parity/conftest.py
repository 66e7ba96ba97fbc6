"""With GRAPHDET_PARITY=write (`make parity`), zoo/parity.json records what passed, and `graphdet zoo` reads it."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parents[2] / "zoo" / "parity.json"
CHECKS = ("names_and_shapes", "stages", "detections", "panoptic_segments", "losses", "gradient_norms")
passed: dict[str, set[str]] = defaultdict(set)  # by variant


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep what passed of each variant."""
    check, _, variant = report.nodeid.rpartition("::test_")[2].partition("[")
    if report.when == "call" and report.passed and check in CHECKS:
        passed[variant.rstrip("]")].add(check)


def pytest_sessionfinish() -> None:
    """Record the cases that passed in full, with the graph that did."""
    if os.environ.get("GRAPHDET_PARITY") != "write":
        return
    from graphdet import trace, zoo
    from tests.parity.test_cases import CASES

    record = json.loads(FILE.read_text()) if FILE.exists() else {}
    for case, name in CASES.items():
        if name in passed:
            record.pop(name, None)
        if passed[name] == set(CHECKS):
            record[name] = {"case": case, "graph": trace(zoo.get(name)).hash}
    FILE.write_text(json.dumps(dict(sorted(record.items())), indent=1) + "\n")
