"""The entry point. ``muster --version`` is answered before anything heavy is imported."""

import sys


def main() -> int:
    """Run the command line that the process was started with; return the exit code."""
    arguments = sys.argv[1:]
    if arguments in (["--version"], ["-V"]):
        from muster.cli.versions import version  # noqa: PLC0415  # start-up time

        sys.stdout.write(f"muster {version()}\n")
        return 0
    from muster.cli import i18n  # noqa: PLC0415  # start-up time

    i18n.use(i18n.choose(arguments))
    from muster.cli.app import run  # noqa: PLC0415  # after the language: texts are looked up

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
