"""Proof: hash chains, and what is built on them. Read next: `chain.py`."""
