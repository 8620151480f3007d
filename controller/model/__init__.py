"""The model: frozen entities that say what the fabric shall be, free of files, sockets and switches.

`entities` holds what the files declare, `address` the MAC and prefix arithmetic, `ids` every number that
follows from a name, `names` the interface and bridge names that hosts carry.
"""
