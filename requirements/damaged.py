"""Print the pins of a lock that this environment lacks, has in another version, or holds only in part, one a line.

    .venv/bin/python requirements/damaged.py requirements/cpu.lock

Runs on the standard library alone. An installation that a kill cut short has no RECORD; what is left of its metadata is
removed, because pip can neither trust nor uninstall it.
"""

import re
import shutil
import sys
import sysconfig
from importlib.metadata import Distribution, distributions
from pathlib import Path


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def whole(distribution: Distribution) -> bool:
    """Whether every file that the installation recorded is there in its full size. Python rewrites bytecode as it
    likes."""
    for file in distribution.files or ():
        if file.suffix == ".pyc":
            continue
        path = Path(str(distribution.locate_file(file)))
        if not path.is_file() or (file.size is not None and path.stat().st_size != file.size):
            return False
    return True


def main(lock: Path) -> None:
    installed: dict[str, Distribution] = {}
    for distribution in distributions(path=[sysconfig.get_path("purelib")]):
        if distribution.files is None:
            shutil.rmtree(str(distribution._path))  # type: ignore[attr-defined]  # the only way to the folder
        else:
            installed[canonical(distribution.metadata["Name"])] = distribution
    for line in lock.read_text().splitlines():
        pin = line.partition("#")[0].strip()
        if pin:
            name, _, version = pin.partition("==")
            found = installed.get(canonical(name))
            if found is None or found.version != version or not whole(found):
                sys.stdout.write(f"{pin}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
