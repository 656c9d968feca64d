#!/bin/sh
# What only a GPU can show, in at most 8 minutes on a bare machine: `benchmarks/gpu.sh OUT [KODAK [TRAIN]]`.
#
# OUT gets a JSON file for each section of gpu.py. KODAK is the folder of Kodak's images, and TRAIN a
# folder of other photographs; without them, the last section is left out. The machine needs Python
# with torch, torchvision, numpy, scipy, pandas and Pillow. The other packages come from the folder
# WHEELS, which `benchmarks/gpu.sh wheels` fills on a machine with network. SECONDS_IN_ALL limits the time.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
WHEELS=${WHEELS:-wheels}
PACKAGES="annotated-types filelock iniconfig packaging pluggy psutil pydantic pydantic-core pygments
    pytest pyyaml tqdm typing-extensions typing-inspection"

if [ "${1:-}" = wheels ]; then
    # shellcheck disable=SC2086
    exec "$PYTHON" -m pip download --no-deps --only-binary :all: --constraint constraints.txt \
        --python-version "${2:-3.12}" --dest "$WHEELS" $PACKAGES
fi

out=${1:?name the folder of the results}
kodak=${2:-}
train=${3:-}
mkdir -p "$out"
if [ -d "$WHEELS" ]; then # a wheel is an archive of the package
    for wheel in "$WHEELS"/*.whl; do
        "$PYTHON" -m zipfile -e "$wheel" "$out/packages"
    done
fi
export PYTHONPATH="$PWD:$PWD/benchmarks:$out/packages${PYTHONPATH:+:$PYTHONPATH}"
"$PYTHON" - << 'END'
import importlib.util
import sys

needed = "PIL annotated_types filelock numpy pandas psutil pydantic pytest scipy torch torchvision tqdm yaml"
if missing := [name for name in needed.split() if importlib.util.find_spec(name) is None]:
    sys.exit(f"Missing: {', '.join(missing)}. Fill the folder WHEELS by `benchmarks/gpu.sh wheels`, and bring it.")
END

begin=$(date +%s)
limit=${SECONDS_IN_ALL:-470}
# section: the most seconds that it may take; the training takes what is left
for section in machine:30 tests:110 cbm3d:40 loader:25 steps:110 training:9999; do
    left=$((limit - $(date +%s) + begin))
    seconds=${section#*:}
    [ "$seconds" -le "$left" ] || seconds=$left
    [ "$seconds" -gt 0 ] || break
    timeout $((seconds + 5)) "$PYTHON" benchmarks/gpu.py "${section%:*}" --out "$out" --seconds "$seconds" \
        --kodak "$kodak" --train "$train" || echo "${section%:*}: exit status $?"
done
