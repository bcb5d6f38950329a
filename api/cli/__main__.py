"""`python -m api.cli`: the same as `ledger`, for starting our own processes with the interpreter that runs us."""

from api.cli import main

main()
