"""`python -m ddlabel` is the console command."""

from ddlabel.cli.app import main

if __name__ == "__main__":
    main()
