#!/bin/sh
# Structures that another language declares lie as in C: the same fields at the same places.
#
#   compare_layout.sh C-PROGRAM COMMAND...
#
# What Lamina writes as a whole, options and step reports, may be larger there than in C: the examples
# leave room for fields that newer versions add at the end. It must never be smaller.
#
# SPDX-License-Identifier: Apache-2.0
set -eu
c=$("$1")
shift
other=$("$@")
printf '%s\n' "$c" | awk -v other="$other" '
    BEGIN {
        n = split(other, lines, "\n")
        for (i = 1; i <= n; i++) {
            split(lines[i], part, " ")
            offset[part[1]] = part[2]
            bytes[part[1]] = part[3]
        }
    }
    {
        grows = $1 == "lmn_reducer_options" || $1 == "lmn_step_report"
        fits = $1 in bytes && offset[$1] == $2 && (bytes[$1] == $3 || (grows && bytes[$1] > $3))
        if (!fits) {
            printf "%s is at %d, %d bytes; the other language: %s, %s\n", $1, $2, $3, offset[$1], bytes[$1]
            failed = 1
        }
    }
    END {
        if (NR != n) {
            printf "%d lines, the other language has %d\n", NR, n
            failed = 1
        }
        print NR " places compared"
        exit failed
    }'
