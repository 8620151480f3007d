"""Flows, groups and bundles as bytes of OpenFlow 1.4, and the switch's answers read back; no sockets, no os-ken.

`oxm` knows the numbers of the fields, `pack` writes messages, `dump` reads what a switch holds, `errors` names what it
refuses.
"""
