"""The same tasks as most tutorials solve them. Wrong on purpose: test_faults.py shows where."""
