"""The rules, pure: no clock, randomness, I/O or logging. Each file reads stream → commands → events → state → evolve → decide."""
