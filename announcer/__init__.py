"""The thought of Lockstep: types, sources, decisions, plans, and the loop that carries them out.

Two rules. The core (``decide``, ``plan``, ``fold``) is made of pure functions over the frozen values of
``announcer.model``: no I/O, no clock, nothing remembered. Only ``announcer.run`` and ``announcer.cli`` know
both hands (``bgpd`` and ``datapath``); the hands know nothing but the model.
"""
