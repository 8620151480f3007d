"""Everything that talks to a switch: sessions over os-ken, sync, and the host's own set-up through OVSDB.

Nothing is imported here: `ovsdb` serves verbs that must not pay for os-ken.
"""
