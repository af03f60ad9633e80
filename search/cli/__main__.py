"""``python -m search.cli``, as ``tlc``."""

from search.cli.main import main

main()
