"""The static site: pages that open from a disk, without a server and without a network."""
