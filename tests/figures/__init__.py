"""The figures of the promise: what is lost, and how long things take. ``make figures``."""
