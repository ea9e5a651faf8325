#!/bin/sh
# The importer of IDX files: what it takes, and what it refuses without leaving a file behind.
#
# SPDX-License-Identifier: Apache-2.0
set -eu
. "$SOURCE_DIR/tests/cli/support/common.sh"


# import_refused TEXT IMAGES LABELS
import_refused() {
    refused 1 "$1" "$LAMINA" data import idx --train-images "$2" --train-labels "$3" --out bad.h5
    [ ! -e bad.h5 ] || fail "a refused import left bad.h5"
    [ -z "$(find . -name '*part*')" ] || fail "a refused import left a part"
}

idx_images images 100 28
idx_labels labels 100

check "plain and gzip give the same dataset"
expect 0 "$LAMINA" data import idx --train-images images --train-labels labels --out plain.h5
gzip -k images labels
expect 0 "$LAMINA" data import idx --train-images images.gz --train-labels labels.gz --out gzip.h5
[ "$(json plain.h5 "x['splits']['train']")" = 100 ] || fail "not 100 images"
tail -c +17 images >pixels
for file in plain gzip; do
    h5dump -d /train/images -b LE -o "$file.pixels" "$file.h5" >/dev/null
    cmp -s pixels "$file.pixels" || fail "$file.h5 holds other pixels than the IDX file"
done

check "inspect tells splits, shapes, types and classes"
make_dataset named 60 20 28
[ "$(json named.h5 "x['splits'] == {'train': 60, 'test': 20}")" = True ] || fail "splits"
[ "$(json named.h5 "x['shapes']['train/images'] == [60, 28, 28, 1]")" = True ] || fail "shapes"
[ "$(json named.h5 "x['types']['test/images']")" = u8 ] || fail "types"
[ "$(json named.h5 "''.join(x['classes'])")" = abcdefghij ] || fail "classes"
expect 0 "$LAMINA" inspect --verify named.h5
grep -q "60 images of 28x28x1" out.txt || fail "not in words"

check "missing files"
import_refused "nowhere" nowhere labels
import_refused "nowhere" images nowhere

check "truncated: plain and gzip"
head -c 5000 images >short
import_refused "short" short labels
head -c 5000 images.gz >short.gz
import_refused "short.gz" short.gz labels

check "a damaged gzip"
size=$(wc -c <images.gz)
{
    head -c $((size - 8)) images.gz
    printf '\001\002\003\004\005\006\007\010'
} >crc.gz
import_refused "crc.gz" crc.gz labels

check "wrong magic, swapped files, empty file"
{
    be32 1234
    tail -c +5 images
} >magic
import_refused "magic" magic labels
import_refused "labels" labels images
: >empty
import_refused "empty" empty labels

check "more data than the header says"
{
    cat images
    echo x
} >long
import_refused "long" long labels

check "images and labels of different counts"
idx_labels fewer 99
import_refused "99" images fewer

check "a label without a class"
refused 1 "class" "$LAMINA" data import idx --train-images images --train-labels labels \
    --classes a,b --out bad.h5
[ ! -e bad.h5 ] || fail "a refused import left bad.h5"

check "options that do not fit together"
refused 2 "test-labels" "$LAMINA" data import idx --train-images images --train-labels labels \
    --test-images images
refused 2 "classes" "$LAMINA" data import idx --train-images images --train-labels labels \
    --classes a,,b

check "an output that cannot be written"
refused 1 "nowhere" "$LAMINA" data import idx --train-images images --train-labels labels \
    --out nowhere/bad.h5

echo "passed"
