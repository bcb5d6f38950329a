"""The table a person reads and the file a machine reads. Read next: `cells.py`."""

import time
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.cells import Result, Results

RESULTS: Final = Path(__file__).parent / "results"


def show(console: Console, facts: dict[str, str], results: Results) -> None:
    """Facts, then a row for each cell."""
    about = Table(title="Measured on", show_header=False, box=None)
    for name, value in facts.items():
        about.add_row(f"[dim]{name}", value)
    console.print(about)
    table = Table(title="Medians; p50 and p99 in ms; ± is half the distance between the worst and the best round")
    for heading in ("", "per second", "±", "p50", "p99", "client CPU", "ratio", "to reach", ""):
        table.add_column(heading, justify="left" if heading in {"", "to reach"} else "right", no_wrap=True)
    for result in results.by_name.values():
        table.add_row(*_row(results, result))
    console.print(table)


def _row(results: Results, result: Result) -> list[str]:
    if not result.rounds:
        return [result.cell.name, "-", "", "", "", "", "", str(result.cell.target or ""), "[red]failed"]
    ratio, reached = results.ratio(result), results.reached(result)
    p50, p99, cpu = (result.median(field) for field in ("p50_ms", "p99_ms", "client_cpu"))
    errors = sum(found.errors for found in result.rounds)
    verdict = {None: "", True: "[green]reached", False: "[red]missed"}[reached]
    return [
        result.cell.name,
        f"{result.median('per_second'):,.0f}",
        f"{result.spread:.0%}",
        f"{p50:.2f}" if p50 else "-",
        f"{p99:.2f}" if p99 else "-",
        f"{cpu:.2f}" if cpu else "inside",
        f"{ratio:.2f}" if ratio is not None else "",
        str(result.cell.target or ""),
        f"{verdict} [yellow]{errors} errors" if errors else verdict,
    ]


def save(facts: dict[str, str], results: Results, options: dict[str, Any]) -> Path:
    """Everything that was measured, every round of it; the file's name is the time."""
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    cells = [
        {
            "name": result.cell.name,
            "against": result.cell.against,
            "ratio": results.ratio(result),
            "target": str(result.cell.target or ""),
            "reached": results.reached(result),
            "problem": result.problem,
            "rounds": result.rounds,
        }
        for result in results.by_name.values()
    ]
    content = msgspec.json.encode({"facts": facts, "options": options, "cells": cells})
    file.write_bytes(msgspec.json.format(content, indent=2) + b"\n")
    return file
