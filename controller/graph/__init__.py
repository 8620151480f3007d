"""The networkx view of a topology: who is where, who joins whom, and who must know what."""
