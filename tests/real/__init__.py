"""Tests against real parts: systemd and snapd, Kubernetes, containerd, docker-registry."""
