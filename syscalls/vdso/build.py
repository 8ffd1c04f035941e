"""Build the vDSO images from src/ with the compiler of the ziglang package.

`python -m syscalls.vdso.build` writes images.py; `--check` only tells whether it is up to date.
Needed only by who changes src/vdso.c: the images are kept as text beside it, so nobody compiles at
install.
"""

from __future__ import annotations

import base64
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGETS = {64: ("x86_64-linux-musl", "x86_64"), 32: ("x86-linux-musl", "i686")}
FLAGS = (
    "-O2 -ffreestanding -fPIC -fno-stack-protector -fno-sanitize=all -fomit-frame-pointer "
    "-nostdlib -shared -s -Wl,--hash-style=both -Wl,-soname,linux-vdso.so.1 -Wl,--build-id=none "
    "-Wl,--eh-frame-hdr -Wl,-T,vdso.lds"
)
PAGE = 4096


def build_image(bits: int) -> bytes:
    """Compile and link one image."""
    target, cpu = TARGETS[bits]
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory) / "vdso.so"
        command = [sys.executable, "-m", "ziglang", "cc", "-target", target, f"-mcpu={cpu}"]
        command += [*FLAGS.split(), f"-Wl,--version-script=vdso{bits}.map"]
        command += ["vdso.c", "-o", str(output)]
        subprocess.run(command, cwd=HERE / "src", check=True)
        image = output.read_bytes()
    if len(image) > PAGE:
        raise SystemExit(f"the {bits}-bit vDSO has {len(image)} bytes, more than a page")
    return image


def module_text(images: dict[int, bytes]) -> str:
    """Return the source of images.py."""
    parts = ['"""The vDSO images, made by `python -m syscalls.vdso.build`; do not edit."""\n']
    parts.append("from __future__ import annotations\n")
    parts.append("#: Base64 of an ELF shared object, by data model.\nIMAGES = {")
    for bits, image in sorted(images.items()):
        parts.append(f"    {bits}: (")
        text = base64.b64encode(image).decode()
        parts.extend(f'        "{line}"' for line in textwrap.wrap(text, 80))
        parts.append("    ),")
    return "\n".join([*parts, "}", ""])


def main() -> int:
    """Write images.py, or compare it with what would be written."""
    text = module_text({bits: build_image(bits) for bits in TARGETS})
    path = HERE / "images.py"
    if "--check" in sys.argv[1:]:
        return int(path.read_text() != text)
    path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
