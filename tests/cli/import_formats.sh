#!/bin/sh
# The importers of CIFAR, LIBSVM, NumPy and CSV files as users call them: files made by other tools
# arrive with their values, options are checked, and a refused import leaves nothing behind.
#
# SPDX-License-Identifier: Apache-2.0
set -eu
. "$SOURCE_DIR/tests/cli/support/common.sh"

# import_refused CODE TEXT FORMAT OPTION...
import_refused() {
    import_code=$1
    import_text=$2
    import_format=$3
    shift 3
    refused "$import_code" "$import_text" "$LAMINA" data import "$import_format" "$@" --out bad.h5
    [ ! -e bad.h5 ] || fail "a refused import left bad.h5"
    [ -z "$(find . -name '*.part')" ] || fail "a refused import left a part"
}

# dump FILE ARRAY: the values on one line, parted by blanks.
dump() {
    h5dump -y -w 0 -d "$2" "$1" | sed -n '/DATA {/,/}/p' | sed '1d;$d;/}/,$d' | tr -d ',"\n' |
        sed 's/\\000//g' | xargs
}

# is_dump FILE ARRAY VALUES
is_dump() {
    dumped=$(dump "$1" "$2")
    [ "$dumped" = "$3" ] || fail "$2 of $1 holds '$dumped', not '$3'"
}

check "CIFAR: files as words and as a list, names from a file"
{
    printf '\003'
    head -c 3072 /dev/zero
} >one.bin
{
    printf '\001'
    head -c 3072 /dev/zero
} >two.bin
gzip -k two.bin
expect 0 "$LAMINA" data import cifar --test two.bin.gz --train one.bin two.bin --out cifar.h5
is_dump cifar.h5 /train/labels "3 1"
is_dump cifar.h5 /test/labels "1"
[ "$(json cifar.h5 "x['classes'][3]")" = cat ] || fail "the classes of CIFAR-10 have no names"
expect 0 "$LAMINA" inspect --verify cifar.h5
printf 'zero\r\none\ntwo\n\n' >names
expect 0 "$LAMINA" data import cifar --train two.bin,two.bin --class-names names --out cifar.h5
[ "$(json cifar.h5 "' '.join(x['classes'])")" = "zero one two" ] || fail "names from a file"
import_refused 1 "has no class" cifar --train one.bin --class-names names
import_refused 1 "nowhere" cifar --train one.bin --class-names nowhere
import_refused 2 "say the same" cifar --train one.bin --class-names names --classes a
printf 'a\n\nb\n' >gap
import_refused 1 "line 2 of 'gap'" cifar --train one.bin --class-names gap
import_refused 2 "train" cifar --test two.bin
import_refused 2 "cifar10" cifar --train one.bin --format cifar-10
import_refused 2 "coarse" cifar --train one.bin --labels rough
import_refused 1 "nowhere" cifar --train one.bin nowhere

check "LIBSVM: sparse rows"
printf '+1 1:0.5 4:2 # x\n-1 2:3\n' >train.svm
expect 0 "$LAMINA" data import libsvm --train train.svm --out svm.h5
is_dump svm.h5 /train/row_start "0 2 3"
is_dump svm.h5 /train/column "0 3 1"
is_dump svm.h5 /train/value "0.5 2 3"
is_dump svm.h5 /train/labels "1 0"
is_dump svm.h5 /classes "-1 +1"
expect 0 "$LAMINA" train vision --data svm.h5 --model mlp:hidden=4 --batch 2 --steps 3 --out svm-run.h5
refused 1 "model 'cnn' takes" "$LAMINA" train vision --data svm.h5 --batch 2 --out svm-run.h5
expect 0 "$LAMINA" data import libsvm --train train.svm --targets --features 7 --out svm.h5
is_dump svm.h5 /train/targets "1 -1"
refused 1 "needs labels" "$LAMINA" train vision --data svm.h5 --model mlp --batch 2 --out svm-run.h5
h5dump -a /features svm.h5 | grep -q ': 7' || fail "not 7 features"
printf '1 1:1\n1 0:1\n' >bad.svm
import_refused 1 "line 2 of 'bad.svm'" libsvm --train bad.svm
import_refused 1 "sparse rows" libsvm --train train.svm --standardise
import_refused 2 "train" libsvm
import_refused 2 "one word too many" libsvm --train train.svm train.svm
mkfifo pipe
cat train.svm >pipe &
import_refused 1 "cannot be read twice" libsvm --train pipe
wait

check "CSV: columns, missing cells, a drawn test split"
cat >train.csv <<'END'
id,age,"weight, kg",kind
a,41,70.5,cat
b,,60,dog
END
expect 0 "$LAMINA" data import csv --train train.csv --label kind --drop id --missing 5 --out csv.h5
is_dump csv.h5 /train/vectors "41 70.5 5 60"
is_dump csv.h5 /classes "cat dog"
is_dump csv.h5 /features "age weight kg"
expect 0 "$LAMINA" data import csv --train train.csv --target 3 --drop 1,4 --missing mean --out csv.h5
is_dump csv.h5 /train/targets "70.5 60"
is_dump csv.h5 /train/vectors "41 41"
seq 1 200 | sed 's/.*/&;&/' >numbers
expect 0 "$LAMINA" data import csv --train numbers --separator ';' --label 2 --no-header \
    --test-part 0.25 --seed 3 --out csv.h5
drawn=$(dump csv.h5 /test/vectors | wc -w)
kept=$(dump csv.h5 /train/vectors | wc -w)
[ "$drawn" -gt 20 ] && [ "$drawn" -lt 80 ] || fail "$drawn rows of 200 were drawn"
[ $((drawn + kept)) -eq 200 ] || fail "the splits have $drawn and $kept rows, not 200"
tr ';' '\t' <numbers >tabs
expect 0 "$LAMINA" data import csv --train tabs --separator tab --target 1 --out csv.h5
import_refused 1 "line 2 of 'train.csv': column 1 (id)" csv --train train.csv --label kind
import_refused 1 "(--missing mean" csv --train train.csv --label kind --drop id
import_refused 1 "no column 'sort'" csv --train train.csv --label sort
import_refused 2 "label COLUMN" csv --train train.csv
import_refused 2 "label COLUMN" csv --train train.csv --label kind --target kind
import_refused 2 "contradict" csv --train train.csv --label kind --header --no-header
import_refused 2 "one of" csv --train train.csv --label kind --test train.csv --test-part 0.1
import_refused 2 "separator" csv --train train.csv --label kind --separator ab
import_refused 2 "name 1 is empty" csv --train train.csv --label kind --drop id,,

check "a disk that takes no more ends with one message and no file"
seq 1 40000 | sed 's/.*/&,&,&,&,&/' >wide.csv
code=0
(
    trap '' XFSZ
    ulimit -f 200
    "$LAMINA" data import csv --train wide.csv --target 1 --out full.h5 >out.txt 2>err.txt
) || code=$?
[ "$code" -eq 1 ] || fail "exit code $code when the file may not grow"
[ "$(grep -c '^lamina: ' err.txt)" -eq 1 ] || fail "not one message when the file may not grow"
[ ! -e full.h5 ] && [ ! -e full.h5.part ] || fail "a file was left"

if ! "$PYTHON" -c 'import numpy' 2>/dev/null; then
    echo "skipped: no Python with NumPy"
    echo "passed"
    exit 0
fi

check "NumPy: arrays and archives that NumPy wrote"
"$PYTHON" - <<'END'
import numpy as np

images = np.arange(5 * 4 * 3 * 2, dtype=np.uint8).reshape(5, 4, 3, 2)
labels = np.array([[0], [2], [1], [2], [0]])
np.savez("stored.npz", x_train=images, y_train=labels, x_test=images[:2], y_test=labels[:2])
np.savez_compressed("packed.npz", x_train=images, y_train=labels)
np.save("vectors.npy", np.array([[0.1, 2], [3, 4]]))
np.save("targets.npy", np.array([0.5, -1], np.float32))
np.save("fortran.npy", np.asfortranarray(np.ones((2, 3))))
np.save("big.npy", np.ones((2, 3), ">f4"))
np.save("objects.npy", np.array([[{}], [None]], object), allow_pickle=True)
with open("version3.npy", "wb") as f:
    np.lib.format.write_array(f, np.ones((2, 3)), version=(3, 0))
END
for archive in stored packed; do
    expect 0 "$LAMINA" data import numpy --npz $archive.npz --out numpy.h5
    is_dump numpy.h5 /train/images "$(seq 0 119 | xargs)"
    is_dump numpy.h5 /train/labels "0 2 1 2 0"
    expect 0 "$LAMINA" inspect --verify numpy.h5
done
expect 0 "$LAMINA" data import numpy --out numpy.h5 \
    --train-images stored.npz:x_test --train-labels stored.npz:y_test.npy \
    --test-images packed.npz:x_train --test-labels packed.npz:y_train
is_dump numpy.h5 /test/labels "0 2 1 2 0"
expect 0 "$LAMINA" data import numpy --train-vectors vectors.npy --train-labels targets.npy --out v.h5
is_dump v.h5 /train/vectors "0.1 2 3 4"
is_dump v.h5 /train/targets "0.5 -1"
expect 0 "$LAMINA" data import numpy --train-vectors version3.npy --train-labels targets.npy --out v.h5
import_refused 1 "ascontiguousarray" numpy --train-vectors fortran.npy --train-labels targets.npy
import_refused 1 ">f4" numpy --train-vectors big.npy --train-labels targets.npy
import_refused 1 "|O" numpy --train-vectors objects.npy --train-labels targets.npy
import_refused 1 "say which" numpy --train-images stored.npz --train-labels targets.npy
import_refused 1 "no member 'y'" numpy --train-vectors vectors.npy --train-labels stored.npz:y
import_refused 2 "needed are" numpy --train-images vectors.npy
import_refused 2 "not both" numpy --train-images a --train-vectors b --train-labels c
import_refused 2 "in place of" numpy --npz stored.npz --train-labels c
import_refused 2 "go together" numpy --train-vectors a --train-labels b --test-labels c

echo "passed"
