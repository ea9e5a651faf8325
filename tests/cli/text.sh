#!/bin/sh
# Text from a file to generated text: importing, training, resuming, testing, generating, and what is
# refused on the way.
#
# SPDX-License-Identifier: Apache-2.0
set -eu
. "$SOURCE_DIR/tests/cli/support/common.sh"

# A text with structure: a story in which names and numbers change.
python3 - >story.txt <<'END'
import sys
names = ["Ada", "Ben", "Cleo", "Dora", "Emil"]
for i in range(400):
    line = f"{names[i % 5]} has {i % 7} apples and gives {names[i * 3 % 5]} one of them;"
    sys.stdout.buffer.write(f"{line} {'oh' if i % 4 else chr(228) + 'h'}.\n".encode())
END

# import_refused CODE TEXT OPTION...
import_refused() {
    code_wanted=$1
    text_wanted=$2
    shift 2
    refused "$code_wanted" "$text_wanted" "$LAMINA" data import text --out bad.h5 "$@"
    [ ! -e bad.h5 ] || fail "a refused import left bad.h5"
    [ -z "$(find . -name '*part*')" ] || fail "a refused import left a part"
}

check "a text of bytes: every token is a byte, and the test part begins at a line"
expect 0 "$LAMINA" data import text story.txt --out bytes.h5
for split in train test; do
    h5dump -d "/$split/tokens" -b LE -o "$split.bytes" bytes.h5 >/dev/null
done
[ "$(json bytes.h5 "(x['kind'], x['holds'], x['splits']['test'])")" = \
    "('dataset', 'text', $(wc -c <test.bytes))" ] || fail "inspect"
cat train.bytes test.bytes | cmp -s - story.txt || fail "the tokens are not the text"
tail -c 1 train.bytes | od -An -c | grep -q '\\n' || fail "the cut is not at a line's end"
[ "$(wc -c <test.bytes)" -le $(($(wc -c <story.txt) / 10)) ] || fail "more than a tenth to test with"
expect 0 "$LAMINA" inspect --verify bytes.h5
grep -q 'train .* tokens, u8' out.txt || fail "not in words"

check "pairs of bytes: fewer tokens, the same from gzip and from pieces"
expect 0 "$LAMINA" data import text story.txt --vocabulary bpe:size=300 --out bpe.h5
[ "$(json bpe.h5 "x['shapes']['vocabulary/merges'] == [44, 2]")" = True ] || fail "merges"
[ "$(json bpe.h5 "x['shapes']['train/tokens'][0]")" -lt $(($(wc -c <train.bytes) / 2)) ] ||
    fail "not half as many tokens"
head -c 5000 story.txt >first.txt
tail -c +5001 story.txt | gzip >rest.gz
expect 0 "$LAMINA" data import text first.txt rest.gz --vocabulary bpe:size=300 --out pieces.h5
for file in bpe pieces; do
    h5dump -d /train/tokens -b LE -o "$file.tokens" "$file.h5" >/dev/null
done
cmp -s bpe.tokens pieces.tokens || fail "pieces give other tokens"

check "no part to test with"
expect 0 "$LAMINA" data import text story.txt --test-part 0 --out whole.h5
[ "$(json whole.h5 "'test/tokens' in x['shapes']")" = False ] || fail "there is a test part"

check "texts that cannot be imported"
: >empty.txt
import_refused 1 "empty.txt" empty.txt
import_refused 1 "nowhere" nowhere
import_refused 1 "none are left to train with" --test-part 0.9999 first.txt
import_refused 2 "vocabulary" --vocabulary words story.txt
import_refused 2 "size" --vocabulary bpe:size=10 story.txt
import_refused 2 "test-part" --test-part 1 story.txt
import_refused 2 "FILE" --vocabulary bytes
head -c 100 rest.gz >short.gz
import_refused 1 "short.gz" short.gz

model="gpt:layers=1,heads=2,width=16,context=16"
common="--data bpe.h5 --model $model --batch 8 --steps 40 --threads 1 --schedule constant --lr 0.01
    --compress topk:density=0.1 --feedback econtrol --allocate lgreco:warmup=4,window=4,every=10"

# train RANKS NAME OPTION...
train() {
    n_ranks=$1
    name=$2
    shift 2
    # shellcheck disable=SC2086 # the common options are separate words
    expect 0 ranks "$n_ranks" "$LAMINA" train text $common --out "$name.h5" "$@"
}

check "training on one and on two ranks tells bits per byte and perplexity"
train 1 alone
grep -q 'test bits per byte .*perplexity' out.txt || fail "no summary"
[ "$(json alone.h5 "0 < x['bits_per_byte'] < 8")" = True ] || fail "bits per byte"
train 2 straight --checkpoint-dir straight
h5dump -d /evaluations/bits_per_byte straight.h5 >/dev/null || fail "no column"
straight=$(json straight.h5 "x['param_hash']")

check "stopped and resumed: the same parameters"
train 2 parts --checkpoint-dir parts --steps 20
train 2 parts --checkpoint-dir parts --resume
[ "$(json parts.h5 "x['param_hash']")" = "$straight" ] || fail "another hash"

check "--max-time ends a run as if it were complete"
train 2 timed --steps 100000000 --max-time 1s --checkpoint-dir timed
[ "$(json timed.h5 "x['complete'] == 1 and x['steps'] > 0")" = True ] || fail "not complete"
grep -q 'test bits per byte' out.txt || fail "no test at the end"
[ -n "$(newest timed)" ] || fail "no checkpoint at the end"
refused 2 "max-time" "$LAMINA" train text --data bpe.h5 --max-time soon

check "eval gives the run's own figure, on 1 and 2 ranks and in batches that leave a rest"
bits=$(json straight.h5 "'bits per byte %.4f' % x['bits_per_byte']")
expect 0 "$LAMINA" eval --data bpe.h5 --checkpoint straight
grep -q "$bits" out.txt || fail "not $bits"
expect 0 ranks 2 "$LAMINA" eval --data bpe.h5 --checkpoint straight --batch 3
grep -q "$bits" out.txt || fail "not $bits on two ranks"

check "generate needs the checkpoint alone, and the seed decides"
for seed in 1 1 2; do
    expect 0 "$LAMINA" generate straight --prompt "Ada has" --tokens 30 --seed $seed --threads 1
    grep -q '^Ada has' out.txt || fail "the prompt is missing"
    cp out.txt "seed$seed.$(find . -name "seed$seed.*" | wc -l)"
done
cmp -s seed1.0 seed1.1 || fail "the same seed gave another text"
! cmp -s seed1.0 seed2.0 || fail "another seed gave the same text"
expect 0 "$LAMINA" generate "$(newest straight)" --prompt "Ada has" --tokens 30 --temperature 0
cp out.txt greedy
expect 0 "$LAMINA" generate straight --prompt "Ada has" --tokens 30 --top-k 1
cmp -s greedy out.txt || fail "the likeliest alone is not what no temperature gives"

check "what does not go together is refused"
make_dataset tiny 64 20 28
expect 0 "$LAMINA" train vision --data tiny.h5 --model mlp:hidden=8 --steps 2 --batch 8 --out v.h5 \
    --checkpoint-dir vision
refused 1 "lamina train text" "$LAMINA" generate vision --prompt a
refused 1 "nowhere" "$LAMINA" generate nowhere --prompt a
refused 1 "not a checkpoint" "$LAMINA" generate bpe.h5 --prompt a
refused 2 "CHECKPOINT" "$LAMINA" generate --prompt a
refused 2 "one" "$LAMINA" generate straight vision --prompt a
refused 2 "prompt" "$LAMINA" generate straight --prompt ""
refused 2 "temperature" "$LAMINA" generate straight --prompt a --temperature -1
refused_by_ranks 1 "lamina train vision" "$LAMINA" train text --data tiny.h5
refused_by_ranks 1 "lamina train text" "$LAMINA" train vision --data bpe.h5
printf '1 1:0.5\n0 2:1\n' >vectors.txt
expect 0 "$LAMINA" data import libsvm --train vectors.txt --out vectors.h5
refused 1 "lamina train vision" "$LAMINA" train text --data vectors.h5
refused 2 "does not take text" "$LAMINA" train text --data bpe.h5 --model cnn
refused 1 "text" "$LAMINA" eval --data tiny.h5 --checkpoint straight
refused 1 "text" "$LAMINA" eval --data bpe.h5 --checkpoint vision
refused 1 "another vocabulary" "$LAMINA" eval --data bytes.h5 --checkpoint straight

check "a text that is too short for the model's context"
expect 0 "$LAMINA" data import text first.txt --out short.h5
refused 1 "short.h5" "$LAMINA" train text --data short.h5 --model gpt:context=4000
