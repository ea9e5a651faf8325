#!/bin/sh
# From a fresh clone to a comparison: sh scripts/quickstart.sh [DIR]
#
# Installs what is missing, builds the release preset, imports Fashion-MNIST, trains the same network
# twice on two ranks, with compressed and with dense gradients, and prints both runs side by side.
# Everything is written to DIR, build/quickstart if none is given. Running it again replaces that.
#
# SPDX-License-Identifier: Apache-2.0
set -eu

RANKS=${RANKS:-2}
EPOCHS=${EPOCHS:-4}
BATCH=${BATCH:-64}
LR=${LR:-0.05}
MODEL=${MODEL:-cnn}
OPTIMIZER=${OPTIMIZER:-sgd:momentum=0.9}
PRESET=${PRESET:-release}
COMPRESS=${COMPRESS:-topk:density=0.025}
FEEDBACK=${FEEDBACK:-econtrol}
ALLOCATE=${ALLOCATE:-lgreco}
FASHION_MNIST=${FASHION_MNIST:-/usr/share/datasets/fashion-mnist}

out=${1:-}
case $out in
'' | /*) ;;
*) out=$(pwd)/$out ;;
esac
cd "$(dirname "$0")/.."
out=${out:-$(pwd)/build/quickstart}
lamina=$(pwd)/build/$PRESET/bin/lamina

start=$(date +%s)
say() {
    printf '\n== %s (%s s)\n' "$*" "$(($(date +%s) - start))"
}

say "packages"
sh scripts/dependencies.sh build

say "build"
mkdir -p "$out"
build() {
    cmake --preset "$PRESET" &&
        cmake --build --preset "$PRESET" --target lamina_program -j "$(nproc)"
}
if ! build >"$out/build.log" 2>&1; then
    tail -n 40 "$out/build.log" >&2
    echo "quickstart: the build failed; all of its output is in $out/build.log" >&2
    exit 1
fi
"$lamina" --version

# cores: how many this process may use; two hardware threads of one count once, as for mpirun.
cores() {
    usable=$(nproc)
    physical=$(lscpu -p=CORE,SOCKET 2>/dev/null | grep -v '^#' | sort -u | wc -l)
    [ "$physical" -gt 0 ] && [ "$physical" -lt "$usable" ] && usable=$physical
    echo "$usable"
}

# Open MPI wants to be told that root may run it and that ranks may share cores; and containers
# refuse the kernel's copying between processes, which it would use by default.
launcher=${MPIRUN:-mpirun}
mpirun="$launcher -n $RANKS"
if $launcher --version 2>/dev/null | grep -q -e 'Open MPI' -e OpenRTE; then
    mpirun="$mpirun --bind-to none"
    [ "$(id -u)" -ne 0 ] || mpirun="$mpirun --allow-run-as-root"
    [ "$(cores)" -ge "$RANKS" ] || mpirun="$mpirun --oversubscribe"
    export OMPI_MCA_btl_vader_single_copy_mechanism=none
fi
export OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1

# Only what this script says counts: options from the environment would change the comparison.
for name in $(env | sed -n 's/^\(LAMINA_[A-Z_]*\)=.*/\1/p'); do
    unset "$name"
done

say "import"
"$lamina" data import idx \
    --train-images "$FASHION_MNIST/train-images-idx3-ubyte.gz" \
    --train-labels "$FASHION_MNIST/train-labels-idx1-ubyte.gz" \
    --test-images "$FASHION_MNIST/t10k-images-idx3-ubyte.gz" \
    --test-labels "$FASHION_MNIST/t10k-labels-idx1-ubyte.gz" \
    --classes "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot" \
    --title "Fashion-MNIST" --out "$out/fashion.h5"

# train NAME OPTION...: one run with everything in common that is to be compared.
train() {
    name=$1
    shift
    rm -f "$out/$name.h5" "$out/$name"/checkpoint-*.h5
    # shellcheck disable=SC2086 # mpirun and its options are separate words
    $mpirun "$lamina" train vision --data "$out/fashion.h5" --model "$MODEL" --epochs "$EPOCHS" \
        --batch "$BATCH" --optimizer "$OPTIMIZER" --lr "$LR" --threads 1 --out "$out/$name.h5" \
        --checkpoint-dir "$out/$name" --keep 1 "$@"
}

say "train on $RANKS ranks, compressed gradients"
train compressed --compress "$COMPRESS" --feedback "$FEEDBACK" --allocate "$ALLOCATE"

say "train on $RANKS ranks, dense gradients"
train dense --compress dense --feedback none --allocate uniform

say "result"
"$lamina" inspect "$out/compressed.h5" "$out/dense.h5"
cat <<END

Dataset, results and last checkpoints are in $out
(fashion.h5, compressed.h5, dense.h5, compressed/, dense/). To go on:

  $lamina inspect $out/compressed.h5
  $lamina eval --data $out/fashion.h5 --checkpoint $out/compressed
  $mpirun $lamina train vision --data $out/fashion.h5 --epochs 1 --out $out/mine.h5
  $lamina train vision --help

The guide is docs/guide.md.
END
