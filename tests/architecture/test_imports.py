"""Who may import whom: the contracts of import-linter in pyproject.toml hold, and none of them is gone."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT

SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
CONTRACTS = {contract["id"]: contract for contract in SETTINGS["contracts"]}


def test_the_contracts_are_those_of_the_design():
    assert set(CONTRACTS) == {"one-way", "pure-domain", "eventsourcing", "arq", "litestar"}
    assert CONTRACTS["one-way"]["layers"] == ["api | workers", "projections", "ledger"]
    assert {"ledger.domain", "ledger.ids", "ledger.errors"} <= set(CONTRACTS["pure-domain"]["source_modules"])
    assert CONTRACTS["eventsourcing"]["allowed_importers"] == ["ledger.store"]
    assert CONTRACTS["arq"]["allowed_importers"] == ["workers"]
    assert CONTRACTS["litestar"]["allowed_importers"] == ["api"]


@pytest.mark.parametrize("module", CONTRACTS["pure-domain"]["source_modules"])
def test_a_module_that_has_to_be_pure_exists(module):
    path = ROOT / module.replace(".", "/")
    assert path.is_dir() or path.with_suffix(".py").is_file()


@pytest.mark.parametrize("contract", sorted(CONTRACTS))
def test_imports_go_one_way(contract):
    linter = Path(sys.executable).with_name("lint-imports")
    outcome = subprocess.run((linter, "--contract", contract), cwd=ROOT, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stdout[-3000:] + outcome.stderr[-1000:]
