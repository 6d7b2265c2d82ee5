"""The product on the nodes of the lab, seen from outside: by the router, the client, and the maps in the kernel."""
