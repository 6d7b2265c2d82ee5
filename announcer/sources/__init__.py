"""Sources: where the Kubernetes objects come from. Each delivers events of ``announcer.sources.events``."""
