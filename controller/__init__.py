"""Weft: tenants' YAML topologies become proven OpenFlow programs on Open vSwitch hosts."""
