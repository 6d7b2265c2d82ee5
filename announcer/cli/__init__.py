"""The command line ``lockstep``: one file a command.

Exit codes: 0 fine; 1 the answer is no; 2 wrong use; 3 the agent cannot be reached.
"""
