"""Bytes of OpenFlow, against os-ken's serialiser and against Open vSwitch."""
