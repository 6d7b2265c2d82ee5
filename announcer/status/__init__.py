"""What people and scripts see: the status JSON, the explanation of one VIP, metrics, and the endpoint that serves them.

Pure views over the agent's current values; nothing here changes anything.
"""
