"""Fuzz every reader of users' files with atheris, guided by coverage:

    python -m tests.fuzz.fuzz_readers CORPUS -max_total_time=600

Atheris is not among the project's dependencies; CONTRIBUTING says how to run this beside them. The first byte of an input
chooses the reader. Whatever is raised other than `InputError` is a finding, which atheris prints and saves.
"""

import contextlib
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["lungseg_train.data", "nibabel", "pydicom"]):
    from tests.fuzz.readers import make_readers

from lungseg_train.errors import InputError

FOLDER = Path(tempfile.mkdtemp(prefix="fuzz"))
READERS = list(make_readers(FOLDER / "good").values())


def read_input(data: bytes) -> None:
    if not data:
        return
    reader = READERS[data[0] % len(READERS)]
    place = FOLDER / reader.name
    place.mkdir(exist_ok=True)
    (place / reader.name).write_bytes(data[1:])
    with contextlib.suppress(InputError):
        reader.read(place)


def main() -> None:
    corpus = next((Path(word) for word in sys.argv[1:] if not word.startswith("-")), None)
    if corpus is not None:
        corpus.mkdir(exist_ok=True)
        for number, reader in enumerate(READERS):
            (corpus / f"good-{reader.name}").write_bytes(bytes([number]) + reader.good)
    atheris.Setup(sys.argv, read_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
