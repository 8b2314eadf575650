"""`python -m gateway`, and where the `turnout` command begins."""

import gc
import os


def main() -> None:
    """Import what the door needs, then open it."""
    # Looking for garbage among modules that stay takes a fifth of the start; the door ends this.
    gc.disable()
    # OpenMP's threads wait asleep, unless told otherwise: where another process has a core, two
    # that spin take five times as long over a matrix as one. Read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from gateway.door import open_door

    open_door()


if __name__ == "__main__":
    main()
