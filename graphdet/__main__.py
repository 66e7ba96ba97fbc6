"""`python -m graphdet` is the command `graphdet`."""

from graphdet.cli.main import main

if __name__ == "__main__":
    main(prog_name="graphdet")
