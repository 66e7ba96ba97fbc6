"""With GRAPHDET_CERTIFY=write (`make certificates`), zoo/certificates.json records what was certified."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

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
    """Record what ran, beside what was recorded before."""
    if os.environ.get("GRAPHDET_CERTIFY") != "write":
        return
    from graphdet import trace, zoo

    record = json.loads(FILE.read_text()) if FILE.exists() else {}
    for name, results in ran.items():
        record[name] = merged(record.get(name, {}), results, trace(zoo.get(name)).hash)
    kept = {name: row for name, row in sorted(record.items()) if row["targets"]}
    FILE.write_text(json.dumps(kept, indent=1) + "\n")


def merged(before: dict[str, Any], results: dict[str, bool], graph: str) -> dict[str, Any]:
    """A variant's record: the targets that passed, and those that did before with the same graph and did not run."""
    from graphdet.runtime.header import TARGETS

    old = before["targets"] if before.get("graph") == graph else []
    return {"graph": graph, "targets": [target for target in TARGETS if results.get(target, target in old)]}
