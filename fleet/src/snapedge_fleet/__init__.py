"""Control plane, device agent and virtual devices: brings releases to groups of devices in waves."""
