"""Pages for people, each one file that needs nothing else: how a bundle's models came about and what they cost."""
