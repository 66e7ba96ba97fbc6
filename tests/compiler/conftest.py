"""With GRAPHDET_CERTIFY=write (`make certificates`), zoo/certificates.json records what was certified."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parents[2] / "zoo" / "certificates.json"
CHECK = "::test_every_detector_passes["
ran: dict[str, dict[str, bool]] = defaultdict(dict)  # by variant, by target: whether it passed


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep what became of each variant and target."""
    if report.when == "call" and CHECK in report.nodeid:
        name, _, target = report.nodeid.partition(CHECK)[2].rstrip("]").rpartition("-")
        ran[name][target] = report.passed


def pytest_sessionfinish() -> None:
    """Record the targets that passed, with the graph that did; targets that did not run keep what they have."""
    if os.environ.get("GRAPHDET_CERTIFY") != "write":
        return
    from graphdet import trace, zoo
    from graphdet.runtime.header import TARGETS

    record = json.loads(FILE.read_text()) if FILE.exists() else {}
    for name, results in ran.items():
        graph, known = trace(zoo.get(name)).hash, record.pop(name, {"graph": ""})
        before = known["targets"] if known["graph"] == graph else []
        passed = [target for target in TARGETS if results.get(target, target in before)]
        if passed:
            record[name] = {"graph": graph, "targets": passed}
    FILE.write_text(json.dumps(dict(sorted(record.items())), indent=1) + "\n")
