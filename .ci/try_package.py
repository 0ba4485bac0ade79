"""What an installed esmkit must have: its own place, its data, its types, its licences."""

import importlib.metadata
import sys
from pathlib import Path

import esmkit

venv = Path(sys.argv[1]).resolve()
package = Path(esmkit.__file__).resolve().parent
assert package.is_relative_to(venv), f"{package} is not in {venv}"
assert importlib.metadata.version("esmkit") == esmkit.__version__
assert (package / "py.typed").is_file()
assert len(esmkit.data.demo_proteins()) == 18
assert len(esmkit.data.demo_structure()) == 76
assert len(esmkit.data.ts50()) == 50
assert len(esmkit.data.replication()) == 62
assert len(esmkit.data.repeat_proteins()) == 14
assert len(esmkit.data.training_proteins()) == 2250
licences = [str(f) for f in importlib.metadata.files("esmkit") or [] if "/licenses/" in str(f)]
assert len(licences) == 5, licences
print(f"esmkit {esmkit.__version__}: data, types and {len(licences)} licences are there")
