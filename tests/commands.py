"""A command as a user gives it: its exit code, what it printed, and what it complained of."""

from hoplon.cli import main


def run(capfd, *arguments):
    code = main([str(a) for a in arguments])
    return code, *capfd.readouterr()
