"""The composition root: the loop that feeds the pure core and has its plans carried out.

Only here do both hands meet. Everything that happens over time happens here: tasks, retries, deadlines, the clock.
"""
