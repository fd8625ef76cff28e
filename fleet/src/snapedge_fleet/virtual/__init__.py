"""Devices without hardware: a snapd, a registry and a Kubernetes that answer as the real ones do."""
