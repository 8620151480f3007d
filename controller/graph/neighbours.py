"""Neighbours that the files do not name: who has been heard to have an address, on networks where others' hosts may be.

What is heard is an input, as the places of interfaces are. A name is a network's or an external network's.
"""

from __future__ import annotations

from controller.memo import Input
from controller.model.entities import Address

# (name of a network, address) -> MAC; None while nobody has been heard.
neighbour: Input[int | None] = Input("MAC of a neighbour")

# Name of a network -> the addresses that have a neighbour.
neighbours_in: Input[tuple[Address, ...] | None] = Input("neighbours heard on a network")

# The names of the networks that have neighbours.
networks_with: Input[tuple[str, ...] | None] = Input("networks with neighbours")
