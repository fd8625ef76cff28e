"""The agent on a device: asks the fleet what it is to have, drives snapd, and reports.

`plan` decides, `agent` executes; `memory` is what survives a restart, `headquarters` the door to the server, `download`
the door to the files.
"""
