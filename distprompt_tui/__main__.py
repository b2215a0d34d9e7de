"""`python -m distprompt_tui`: the same as the `distprompt-tui` command."""

from distprompt_tui.runs.isolation import leave_working_directory

leave_working_directory()  # before anything else is imported

from distprompt_tui.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
