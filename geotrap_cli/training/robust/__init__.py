"""Mechanisms against adaptive attackers and shortcuts, each a switch of ``[robust]``: one a file."""
