"""`python -m distprompt_tui`: the same as the `distprompt-tui` command."""

from distprompt_tui.cli import main

if __name__ == "__main__":
    main()
