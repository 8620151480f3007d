"""The pipeline: from the graph's answers to flow programs, as pure data.

`fields` and `flow` are the flow language, `registers` and `tables` the map of the bridges, `features/` one file per
feature, `compile` puts them together, `diff` compares programs, `text` writes them as ovs-ofctl does.
"""
